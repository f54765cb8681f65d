//! Behaviour as it is seen from outside, over real files, processes and sockets.

mod commands;

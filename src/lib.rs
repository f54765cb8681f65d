//! Vestibule: a TLS and bearer-token sidecar for Kubernetes.

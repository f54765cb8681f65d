//! Many stores in one process, each with a connection of its own to the API server, for `bench/fleet`: `stores CONFIG
//! KUBECONFIG`. Does what standard input asks for, a line of JSON each, and answers on standard output.

mod command;
mod stores;

use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::mpsc;

use self::command::Command;
use self::stores::Stores;

// As the product does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Documents are parsed on so many threads besides; `serve` has its own.
const PARSING: usize = 2;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [config, kubeconfig] = &arguments[..] else {
        eprintln!("usage: stores CONFIG KUBECONFIG");
        return ExitCode::from(64);
    };
    match run(config, kubeconfig) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stores: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Path, kubeconfig: &Path) -> Result<(), String> {
    let mut stores = Stores::new(config, kubeconfig)?;
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(PARSING).build();
    let runtime = runtime.map_err(|error| format!("the runtime: {error}"))?;
    let (sender, mut commands) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    runtime.block_on(async {
        while let Some(line) = commands.recv().await {
            let command: Command = serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
            stores.obey(command, &mut say).await?;
        }
        Ok(())
    })
}

fn say(answer: &serde_json::Value) -> Result<(), String> {
    let mut out = io::stdout().lock();
    writeln!(out, "{answer}").and_then(|()| out.flush()).map_err(|error| format!("standard output: {error}"))
}

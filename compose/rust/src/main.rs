//! The command line of a replica.

#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use driftlab_replica::apply::apply;
use driftlab_replica::bugs::Bug;
use driftlab_replica::logging::early_error;
use driftlab_replica::settings::{Ordering, Settings};
use driftlab_replica::{VERSION, health, logging, process};

const USAGE: &str = "usage: replica --settings FILE [--seeded-bug NAME] | replica apply --ordering sequence|key \
                     [--seeded-bug NAME] | replica health [--settings FILE] | replica --version";
const SETTINGS_PATH: &str = "/etc/driftlab/settings.json";
/// The command line or the settings are wrong.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--settings", path] => run_replica(&PathBuf::from(path), None),
        ["--settings", path, "--seeded-bug", name] => match Bug::named(name) {
            Some(bug) => run_replica(&PathBuf::from(path), Some(bug)),
            None => usage_error(&format!("unknown bug {name:?}")),
        },
        ["apply", "--ordering", ordering] => run_apply(ordering, None),
        ["apply", "--ordering", ordering, "--seeded-bug", name] => match Bug::named(name) {
            Some(bug) => run_apply(ordering, Some(bug)),
            None => usage_error(&format!("unknown bug {name:?}")),
        },
        ["health"] => run_health(Path::new(SETTINGS_PATH)),
        ["health", "--settings", path] => run_health(Path::new(path)),
        ["--version"] => {
            println!("{VERSION}");
            ExitCode::SUCCESS
        }
        _ => usage_error(USAGE),
    }
}

fn usage_error(message: &str) -> ExitCode {
    early_error(message);
    ExitCode::from(EXIT_USAGE)
}

fn run_replica(path: &Path, bug: Option<Bug>) -> ExitCode {
    let mut settings = match Settings::load(path) {
        Ok(settings) => settings,
        Err(error) => return usage_error(&error.to_string()),
    };
    settings.bug = bug;
    logging::start(&settings.name, settings.log_level);
    if let Some(bug) = bug {
        logging::warn_of_bug(&settings.name, bug);
    }
    // One thread for all but the disk: a replica that shares its cores with its peers gains
    // nothing from more, and every switch between threads delays an answer.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(process::run(settings));
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the replica cannot go on");
            ExitCode::FAILURE
        }
    }
}

fn run_apply(ordering: &str, bug: Option<Bug>) -> ExitCode {
    let ordering = match ordering {
        "sequence" => Ordering::Sequence,
        "key" => Ordering::Key,
        _ => return usage_error(USAGE),
    };
    if let Some(bug) = bug {
        logging::warn_of_bug("apply", bug);
    }
    let outcome = match apply(io::stdin().lock(), ordering, bug) {
        Ok(outcome) => outcome,
        Err(error) => {
            early_error(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    match serde_json::to_string(&outcome) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            early_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run_health(path: &Path) -> ExitCode {
    let address = Settings::load(path).and_then(|settings| health::control_address(&settings));
    let address = match address {
        Ok(address) => address,
        Err(error) => return usage_error(&error.to_string()),
    };
    match health::check(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            early_error(&format!("health: {error}"));
            ExitCode::FAILURE
        }
    }
}

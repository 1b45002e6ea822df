//! The server's process: arguments, log, exit status.

#![forbid(unsafe_code)]

use runnel::config;
use runnel::io::log as tank;
use runnel::limits;
use runnel::server::options::{Action, HELP, Options};
use runnel::server::{self, StartError, banner};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(status) = runnel::io::child::take_over(std::env::args_os()) {
        return status;
    }
    if let Some(status) = server::applet(std::env::args_os()) {
        return ExitCode::from(status);
    }
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("runnel: {text}\n\n{HELP}");
            return ExitCode::from(0xff);
        }
    };
    match options.action {
        Action::Version => {
            eprintln!("{}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Action::Help => {
            print!("{}\n\n{HELP}", banner::version());
            return ExitCode::SUCCESS;
        }
        Action::Reference => {
            if limits::REFERENCE {
                print!("{}", config::reference());
                return ExitCode::SUCCESS;
            }
            eprintln!(
                "runnel: not in this image, it needs the feature reference; conf/full.conf has it"
            );
            return ExitCode::from(0xff);
        }
        Action::Run | Action::Test | Action::Limits => {}
    }
    tank::init();
    let result = start(&options);
    let status = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            log::error!("{}. ret={}", e.text, e.code);
            ExitCode::from(e.status())
        }
    };
    tank::flush(server::LAST_LINES);
    status
}

fn start(options: &Options) -> Result<(), StartError> {
    let config = server::load(options)?;
    match options.action {
        Action::Test => {
            server::listen::check_files(&config)?;
            log::info!("config file is ok");
            Ok(())
        }
        Action::Limits => {
            print!("{}", banner::limits(&config));
            Ok(())
        }
        _ => server::run(options, config),
    }
}

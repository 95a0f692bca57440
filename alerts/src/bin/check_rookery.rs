//! `check_rookery`: prints the answer and exits with its code.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let answer = rookery_alerts::check::run(std::env::args_os());
    // Nobody may be listening any more; the exit code still counts.
    let _ = writeln!(std::io::stdout(), "{}", answer.text);
    ExitCode::from(answer.state.exit_code())
}

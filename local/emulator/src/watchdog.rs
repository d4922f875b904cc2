//! Ends the functions' processes where the rig dies without stopping them.
//!
//! They usually notice that their Runtime API is gone; a client that was between two requests may wait for it for ever.

use std::{
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Keeps the list of processes that it is told, and kills them when nobody is left to tell it more.
const SCRIPT: &str = r#"
pids=
while read -r change pid; do
  others=
  for known in $pids; do [ "$known" = "$pid" ] || others="$others $known"; done
  pids=$others
  [ "$change" = - ] || pids="$pids $pid"
done
[ -z "$pids" ] || kill -9 $pids
"#;

/// A small process that outlives the rig by a moment.
#[derive(Debug)]
pub(crate) struct Watchdog {
    input: Mutex<ChildStdin>,
    _process: Child,
}

impl Watchdog {
    /// Starts it, watching nothing yet.
    pub(crate) fn start() -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C is not for it: it ends with the rig.
        let mut process = command.process_group(0).spawn()?;
        let input = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { input: Mutex::new(input), _process: process })
    }

    /// This process is to end with the rig.
    pub(crate) fn watch(&self, pid: u32) {
        self.tell('+', pid);
    }

    /// This process has ended.
    pub(crate) fn forget(&self, pid: u32) {
        self.tell('-', pid);
    }

    fn tell(&self, change: char, pid: u32) {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(input, "{change} {pid}") {
            eprintln!("processes may outlive a crash: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn sleeping(seconds: &str) -> Child {
        Command::new("sleep").arg(seconds).spawn().unwrap()
    }

    #[test]
    fn watched_processes_end_with_the_watchdog() {
        let mut watched = sleeping("60");
        let mut forgotten = sleeping("1");
        let watchdog = Watchdog::start().unwrap();
        watchdog.watch(forgotten.id());
        watchdog.watch(watched.id());
        watchdog.forget(forgotten.id());

        drop(watchdog);

        assert_eq!(watched.wait().unwrap().signal(), Some(9));
        assert!(forgotten.wait().unwrap().success());
    }
}

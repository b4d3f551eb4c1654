//! A running program that is told what to do, line by line.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a program may take for an answer before it is taken to have none.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A running program that reads commands and prints lines. Dropping it kills it with SIGKILL.
#[derive(Debug)]
pub struct Conversation {
    process: Child,
    commands: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Conversation {
    /// Starts a program.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &mut Command) -> io::Result<Self> {
        let mut process = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(commands), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("the pipes were asked for");
        };
        // Read by a thread, so that a program that falls silent fails its test instead of holding
        // it.
        let (tx, lines) = mpsc::channel();
        #[expect(clippy::disallowed_methods, reason = "it ends with the program's output")]
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| tx.send(line))
        });
        Ok(Self { process, commands, lines })
    }

    /// Sends a command, and returns the first line from now on that starts with `prefix`.
    ///
    /// # Panics
    /// There is no such line.
    #[track_caller]
    pub fn tell(&mut self, command: &str, prefix: &str) -> String {
        self.send(command);
        self.wait_for_line(command, prefix)
    }

    /// Returns the first line from now on that starts with `prefix`, without sending anything.
    ///
    /// # Panics
    /// There is no such line.
    #[track_caller]
    pub fn hear(&mut self, prefix: &str) -> String {
        self.wait_for_line("no command", prefix)
    }

    /// Sends a command, and returns the lines from now on up to one that is `end`, without that.
    ///
    /// # Panics
    /// There is no such line.
    #[track_caller]
    pub fn tell_until(&mut self, command: &str, end: &str) -> Vec<String> {
        self.send(command);
        let mut lines = Vec::new();
        loop {
            let line = self.next_line(command, end);
            if line == end {
                return lines;
            }
            lines.push(line);
        }
    }

    /// Returns the process's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// The system does not know how it ended.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait()
    }

    #[track_caller]
    fn send(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap_or_else(|err| panic!("{command}: {err}"));
    }

    #[track_caller]
    fn wait_for_line(&self, command: &str, prefix: &str) -> String {
        let mut others = Vec::new();
        loop {
            match self.lines.recv_timeout(SILENCE_MAX) {
                Ok(line) if line.starts_with(prefix) => return line,
                Ok(line) => others.push(line),
                Err(err) => panic!("{command}: no line `{prefix}`: {err}; there were {others:?}"),
            }
        }
    }

    #[track_caller]
    fn next_line(&self, command: &str, wanted: &str) -> String {
        match self.lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => line,
            Err(err) => panic!("{command}: no line `{wanted}`: {err}"),
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

//! The example programs do what their usage says, run as a user runs them.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use checkpoint_tests::example;

const TEXTS: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/pride_and_prejudice.txt"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/persuasion.txt"),
];

/// How long a program may take for an answer before it is taken to have none.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Runs `word_count` with a directory in place of each `{}`.
fn word_count(dir: &Path, arguments: &[&str]) -> io::Result<Output> {
    let dir = dir.to_string_lossy();
    example("word_count")
        .args(arguments.iter().map(|argument| argument.replace("{}", &dir)))
        .output()
}

/// Runs a program that has to succeed, and returns what it printed.
#[track_caller]
fn succeed(output: io::Result<Output>) -> String {
    let output = output.unwrap_or_else(|err| panic!("the program does not start: {err}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{error}", output.status);
    assert_eq!(error, "", "there is no terminal to show progress on");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn word_count_counts_the_text_that_ships() {
    let printed = succeed(word_count(Path::new(""), &["--top", "2"]));
    assert!(printed.starts_with("    4331 the\n    4163 to\n\n122817 words in "), "{printed}");
}

#[test]
fn word_count_reads_standard_input() -> io::Result<()> {
    let mut program =
        example("word_count").arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // Dropped at once, and so closed.
    program.stdin.take().map(|mut stdin| stdin.write_all(b"To be, or not to be")).transpose()?;
    let printed = String::from_utf8_lossy(&program.wait_with_output()?.stdout).into_owned();
    let expected = "       2 be\n       2 to\n       1 not\n       1 or\n\n6 words";
    assert!(printed.starts_with(expected), "{printed}");
    Ok(())
}

/// Counts two texts in two processes into one state, and in one process without; compares all counts.
#[track_caller]
fn check_two_runs(mode: &str) -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let state = ["--state", "{}/state", "--mode", mode];
    for (text, output) in [(TEXTS[0], "{}/first"), (TEXTS[1], "{}/two runs")] {
        succeed(word_count(dir.path(), &[&state[..], &["--output", output, text]].concat()));
    }
    succeed(word_count(dir.path(), &["--output", "{}/one run", TEXTS[0], TEXTS[1]]));
    let counts = |name| fs::read_to_string(dir.path().join(name));
    assert_ne!(counts("first")?, counts("two runs")?);
    assert!(counts("one run")? == counts("two runs")?, "the counts differ");
    Ok(())
}

#[test]
fn word_count_goes_on_where_it_ended_in_count_mode() -> io::Result<()> {
    check_two_runs("count:10")
}

#[test]
fn word_count_goes_on_where_it_ended_in_time_mode() -> io::Result<()> {
    check_two_runs("time:20")
}

#[test]
fn word_count_goes_on_where_it_ended_without_checkpoints_between() -> io::Result<()> {
    check_two_runs("none")
}

#[test]
#[cfg(unix)]
fn word_count_crashes_on_request_and_keeps_no_more_than_it_counted() -> io::Result<()> {
    use std::os::unix::process::ExitStatusExt;

    const SIGABRT: i32 = 6;
    let dir = tempfile::tempdir()?;
    let crashed = word_count(
        dir.path(),
        &["--state", "{}/state", "--mode", "count:1", "--crash-after", "5000"],
    )?;
    assert_eq!(crashed.status.signal(), Some(SIGABRT));
    fs::write(dir.path().join("empty"), "")?;
    succeed(word_count(dir.path(), &["--state", "{}/state", "--output", "{}/counts", "{}/empty"]));
    let counts = fs::read_to_string(dir.path().join("counts"))?;
    let kept = counts.lines().filter_map(|line| line.split('\t').nth(1)?.parse::<u64>().ok());
    // How much was stored before the crash is a matter of luck; that it can be read is not.
    assert!(kept.sum::<u64>() <= 5000);
    Ok(())
}

/// Runs `word_count` with a mistake in the command line, which the error has to name.
#[track_caller]
fn check_mistake(line: &str, expected: &str) -> io::Result<()> {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let output = word_count(Path::new("/no/such/dir"), &arguments)?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(error.starts_with(expected), "{line}: {error}");
    Ok(())
}

#[test]
fn word_count_names_what_is_wrong_with_its_command_line() -> io::Result<()> {
    check_mistake("--stat s", "Error: invalid option '--stat'\n\nusage: word_count ")?;
    check_mistake("--state", "Error: missing argument for option '--state'")?;
    check_mistake("--backend disk", "Error: --backend disk: no such backend: known is file")?;
    check_mistake("--mode count:0", "Error: --mode count:0: `0` is no count of events: ")?;
    check_mistake("--top many", "Error: --top many: ")?;
    check_mistake("--crash-after 0", "Error: --crash-after 0: ")?;
    check_mistake("{}/text", "Error: cannot read /no/such/dir/text\n")?;
    check_mistake("--output {}/out", "Error: cannot write /no/such/dir/out\n")
}

/// A running `stateful_pe`, which is killed with SIGKILL when dropped.
struct StatefulPe {
    process: Child,
    commands: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl StatefulPe {
    fn start(dir: &Path, mode: &str) -> io::Result<Self> {
        let mut process = example("stateful_pe")
            .arg("--state")
            .arg(dir)
            .args(["--mode", mode])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(commands), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            panic!("the pipes were asked for");
        };
        // Read by a thread, so that a program that falls silent fails its test instead of holding it.
        let (tx, lines) = mpsc::channel();
        #[expect(clippy::disallowed_methods, reason = "it ends with the program's output")]
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| tx.send(line))
        });
        Ok(Self { process, commands, lines })
    }

    /// Sends a command, and returns the first line from now on that starts with `prefix`.
    #[track_caller]
    fn tell(&mut self, command: &str, prefix: &str) -> String {
        writeln!(self.commands, "{command}").unwrap_or_else(|err| panic!("{command}: {err}"));
        loop {
            match self.lines.recv_timeout(SILENCE_MAX) {
                Ok(line) if line.starts_with(prefix) => return line,
                Ok(_) => {}
                Err(err) => panic!("{command}: no line `{prefix}…`: {err}"),
            }
        }
    }
}

impl Drop for StatefulPe {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Sets one value in a process that is killed once `store` has stored it, and another in the next.
#[track_caller]
fn check_restart(mode: &str, store: impl FnOnce(&mut StatefulPe) -> String) -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut first = StatefulPe::start(dir.path(), mode)?;
    store(&mut first);
    drop(first);
    // In mode None: the state is restored whatever the mode of the process that reads it.
    let mut second = StatefulPe::start(dir.path(), "none")?;
    let shown = second.tell("set value2 message2", "value1");
    assert_eq!(shown, "value1=message1 ; value2=message2");
    Ok(())
}

#[test]
fn stateful_pe_restores_what_a_manual_checkpoint_stored() -> io::Result<()> {
    check_restart("none", |pe| {
        pe.tell("set value1 message1", "value1");
        pe.tell("checkpoint", "saved")
    })
}

#[test]
fn stateful_pe_restores_what_the_count_mode_stored() -> io::Result<()> {
    check_restart("count:1", |pe| pe.tell("set value1 message1", "saved"))
}

#[test]
fn stateful_pe_restores_what_the_time_mode_stored() -> io::Result<()> {
    check_restart("time:1", |pe| pe.tell("set value1 message1", "saved"))
}

#[test]
fn stateful_pe_restores_the_last_checkpoint_and_not_the_last_state() -> io::Result<()> {
    check_restart("none", |pe| {
        pe.tell("set value1 message1", "value1");
        pe.tell("checkpoint", "saved");
        pe.tell("set value1 message1b", "value1=message1b")
    })
}

#[test]
fn stateful_pe_stores_what_has_changed_when_its_input_ends() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut first = StatefulPe::start(dir.path(), "none")?;
    first.tell("set value1 message1", "value1");
    first.tell("quit", "saved");
    assert!(first.process.wait()?.success());
    let mut second = StatefulPe::start(dir.path(), "none")?;
    assert_eq!(second.tell("show", "value1"), "value1=message1 ; value2=");
    Ok(())
}

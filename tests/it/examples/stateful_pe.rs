//! `stateful_pe`: Apache S4's own scenarios, with processes that are killed.

use std::io;
use std::path::Path;
use std::process::Command;

use checkpoint_tests::{Conversation, example};

fn start(dir: &Path, mode: &str) -> io::Result<Conversation> {
    Conversation::start(example("stateful_pe").arg("--state").arg(dir).args(["--mode", mode]))
}

/// Sets one value in a process that is killed once `store` has stored it, and another in the next.
#[track_caller]
fn check_restart(mode: &str, store: impl FnOnce(&mut Conversation) -> String) -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut first = start(dir.path(), mode)?;
    store(&mut first);
    drop(first);
    // In mode None: the state is restored whatever the mode of the process that reads it.
    let mut second = start(dir.path(), "none")?;
    let shown = second.tell("set value2 message2", "value1");
    assert_eq!(shown, "value1=message1 ; value2=message2");
    Ok(())
}

#[test]
fn it_restores_what_a_manual_checkpoint_stored() -> io::Result<()> {
    check_restart("none", |pe| {
        pe.tell("set value1 message1", "value1");
        pe.tell("checkpoint", "saved")
    })
}

#[test]
fn it_restores_what_the_count_mode_stored() -> io::Result<()> {
    check_restart("count:1", |pe| pe.tell("set value1 message1", "saved"))
}

#[test]
fn it_restores_what_the_time_mode_stored() -> io::Result<()> {
    check_restart("time:1", |pe| pe.tell("set value1 message1", "saved"))
}

#[test]
fn it_restores_the_last_checkpoint_and_not_the_last_state() -> io::Result<()> {
    check_restart("none", |pe| {
        pe.tell("set value1 message1", "value1");
        pe.tell("checkpoint", "saved");
        pe.tell("set value1 message1b", "value1=message1b")
    })
}

#[test]
fn it_stores_what_has_changed_when_its_input_ends() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut first = start(dir.path(), "none")?;
    first.tell("set value1 message1", "value1");
    first.tell("quit", "saved");
    assert!(first.wait()?.success());
    let mut second = start(dir.path(), "none")?;
    assert_eq!(second.tell("show", "value1"), "value1=message1 ; value2=");
    Ok(())
}

#[test]
fn another_program_restores_what_the_count_mode_stored() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut first = start(dir.path(), "count:1")?;
    first.tell("set value1 message1", "saved");
    drop(first); // Kills it.
    let second = Command::new(env!("CARGO_BIN_EXE_another_program")).arg(dir.path()).output()?;
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    let shown = String::from_utf8_lossy(&second.stdout);
    assert_eq!(shown.trim_end(), "value1=message1 ; value2=message2");
    Ok(())
}

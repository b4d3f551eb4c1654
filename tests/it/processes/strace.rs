//! Runs a program under strace, which notes its system calls, and has one of them go wrong.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// The system calls that change files, or decide about them.
const WRITE_CLASS: &str = "openat,write,pwrite64,ftruncate,fsync,fdatasync,syncfs,rename,renameat,\
                           renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat,close,flock";

/// A system call as strace shows it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// How many calls of this name there were up to this one: what strace counts by.
    pub(crate) ordinal: usize,
    /// The arguments; file descriptors are followed by their paths in angle brackets.
    pub(crate) arguments: String,
    /// The result, and what strace did to it.
    pub(crate) result: String,
}

impl Call {
    pub(crate) fn succeeded(&self) -> bool {
        !self.result.starts_with(['-', '?'])
    }

    /// Whether there was an error: a call during which the process was killed has none.
    pub(crate) fn has_failed(&self) -> bool {
        self.result.starts_with("-1 ")
    }

    pub(crate) fn is_injected(&self) -> bool {
        self.result.ends_with("(INJECTED)")
    }

    /// The number of the file descriptor that it is about, if the first argument is one.
    pub(crate) fn descriptor(&self) -> Option<&str> {
        self.arguments.split_once('<').map(|(number, _)| number)
    }

    /// The paths of the file descriptors among the arguments.
    pub(crate) fn paths(&self) -> Vec<&str> {
        let open = self.arguments.split('<').skip(1);
        open.filter_map(|rest| rest.split_once('>').map(|(path, _)| path)).collect()
    }

    /// The strings among the arguments.
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.arguments.split('"').skip(1).step_by(2).collect()
    }
}

/// What a program has done.
pub(crate) struct Traced {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) calls: Vec<Call>,
}

/// Runs a program to its end; `inject` is what strace's option of that name takes.
#[track_caller]
pub(crate) fn trace(program: &mut Command, log: &Path, inject: Option<&str>) -> Traced {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-s", "80", "-o"]).arg(log);
    strace.args(["-e", &format!("trace={WRITE_CLASS}")]);
    if let Some(inject) = inject {
        strace.args(["-e", &format!("inject={inject}")]);
    }
    strace.arg(program.get_program()).args(program.get_args());
    let output = strace.stdin(Stdio::null()).output().unwrap_or_else(|err| {
        panic!("{err}: strace is needed (tests/run installs it)");
    });
    let text = fs::read_to_string(log).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!text.is_empty(), "strace did not run: {stderr}");
    let output_text = String::from_utf8_lossy(&output.stdout) + stderr;
    Traced { status: output.status, output: output_text.into_owned(), calls: parse(&text) }
}

fn parse(log: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for line in log.lines() {
        let call = line.split_once(' ').and_then(|(_, call)| call.trim_start().split_once('('));
        // Other lines tell of signals and of the end.
        let Some((name, rest)) = call.filter(|(name, _)| !name.contains([' ', '+', '-'])) else {
            continue;
        };
        let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, "?"));
        let before = calls.iter().filter(|call| call.name == name).count();
        calls.push(Call {
            name: name.to_owned(),
            ordinal: before + 1,
            arguments: arguments.trim_end().trim_end_matches(')').to_owned(),
            result: result.to_owned(),
        });
    }
    calls
}

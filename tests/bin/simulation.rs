//! Runs histories of the deterministic simulation, as many as it is told to.
//!
//!     simulation KIND quota                as many as the quota says, on all cores
//!     simulation KIND run FIRST COUNT      those from the seed FIRST on
//!     simulation KIND replay SEED          one of them, with everything that happens in it
//!
//! KIND is `keeper`, `power-loss`, `log-power-loss` or `keeper-power-loss`.
//!
//! A run that met too little fails, as one that broke a promise does. Build it with
//! `--profile simulation`: without optimisation a history takes ten times as long.

use std::env;
use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

use checkpoint::{Clock, SystemClock};
use checkpoint_tests::first_seed;
use checkpoint_tests::simulation::{Simulation, Telling};

const USAGE: &str = "usage: simulation keeper|power-loss|log-power-loss|keeper-power-loss \
                     quota | run FIRST COUNT | replay SEED";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [kind, ref arguments @ ..] = *arguments else { return Err(USAGE.into()) };
    let simulation = Simulation::named(kind).ok_or(USAGE)?;
    match *arguments {
        ["quota"] => run_all(simulation, first_seed(), simulation.quota().get()),
        ["run", first, count] => run_all(simulation, first.parse()?, count.parse()?),
        ["replay", seed] => {
            let outcome = simulation.run(seed.parse()?, Telling::All);
            writeln!(stdout(), "{}{:?}", outcome.text, outcome.violation)?;
            Ok(if outcome.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => Err(USAGE.into()),
    }
}

fn run_all(simulation: Simulation, first: u64, count: u64) -> Result<ExitCode, Box<dyn Error>> {
    let clock = SystemClock::new();
    let began = clock.now();
    let summary = simulation.run_many(first..first + count).check();
    let summary = match summary {
        Ok(summary) => summary,
        Err(text) => {
            writeln!(stderr(), "{text}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let took = clock.now().since(began);
    let mut out = stdout();
    for (kind, count) in summary.met() {
        writeln!(out, "{count:>12}  {kind}")?;
    }
    let (histories, repeated) = (summary.histories, summary.repeated);
    let each = took.div_f64(f64::from(u32::try_from(histories.max(1))?));
    let each = Duration::from_micros(u64::try_from(each.as_micros())?);
    writeln!(out, "{histories} histories from seed {first} in {took:.1?} ({each:?} each)")?;
    writeln!(out, "{repeated} of them three times; no promise was broken")?;
    let never = summary.never_met();
    if !never.is_empty() {
        return Err(format!("never met: {}", never.join(", ")).into());
    }
    Ok(ExitCode::SUCCESS)
}

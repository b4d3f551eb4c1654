//! The kit fails what is broken, and says how.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::StateStorage;
use checkpoint::storage::conformance::{CheckReport, Conformance, Failure, Harness, Report};

use super::fault::{Fault, HISTORIES};
use super::naive_storage::NaiveStorage;

/// Makes storages with this fault, if it is one.
struct Naive {
    fault: Option<Fault>,
    last: Mutex<Option<NaiveStorage>>,
}

impl Naive {
    fn conformance(fault: impl Into<Option<Fault>>) -> Conformance {
        Conformance::new(Self { fault: fault.into(), last: Mutex::default() })
    }
}

impl Harness for Naive {
    fn fresh(&self) -> Arc<dyn StateStorage> {
        let storage = NaiveStorage::new(self.fault);
        *self.last.lock().unwrap() = Some(storage.clone());
        Arc::new(storage)
    }

    fn reopen(&self, _: Arc<dyn StateStorage>) -> Option<Arc<dyn StateStorage>> {
        let mut last = self.last.lock().unwrap();
        let storage = last.take()?.reopened();
        *last = Some(storage.clone());
        Some(Arc::new(storage))
    }
}

/// Checks that a storage with this fault fails each of these checks.
#[track_caller]
fn check_caught(fault: Fault, deadline: Duration, names: &[&str], is_of_time: bool) {
    for name in names {
        let report = Naive::conformance(fault).deadline(deadline).only(*name).run();
        let of_name = report.failures().find(|check| check.name() == *name);
        let failure = of_name.and_then(CheckReport::failure);
        let Some(failure) = failure else { panic!("{fault:?} passes {name}\n{report}") };
        // Else a slow machine would look like a find.
        assert_eq!(failure.found().contains(" after "), is_of_time, "{fault:?}: {report}");
    }
}

#[test]
fn a_plain_and_correct_storage_conforms() {
    // Else the failures below would say nothing.
    Naive::conformance(None).run().assert_passed();
}

#[test]
fn each_fault_is_found_by_the_checks_of_its_promise() {
    for (fault, names) in Fault::FOUND_BY {
        check_caught(*fault, Duration::from_secs(20), names, false);
    }
}

#[test]
fn what_never_answers_is_found_and_does_not_hang_the_kit() {
    for (fault, names) in Fault::FOUND_BY_TIME {
        check_caught(*fault, Duration::from_millis(200), names, true);
    }
}

#[test]
fn a_fault_that_only_a_history_finds_is_reported_with_the_shortest_one() {
    let report = Naive::conformance(Fault::ForgetsWhatIsRemovedTwice).run();
    let failures: Vec<_> = report.failures().map(CheckReport::name).collect();
    assert_eq!(failures, [HISTORIES], "{report}");
    let failure = report.failures().find_map(CheckReport::failure).unwrap();
    assert!(failure.attempted().contains("shortened from 40 operations to 2)"), "{report}");
    let saves = failure.steps().iter().filter(|step| step.starts_with("save Tombstone"));
    assert_eq!(saves.count(), 2, "{report}");
}

#[test]
fn a_history_of_the_same_seed_is_the_same() {
    let run = |seed| {
        let conformance = Naive::conformance(Fault::OlderWins).only(HISTORIES);
        conformance.seed(seed).histories(1).operations(200).run()
    };
    let failure = |report: &Report| -> Failure {
        report.failures().find_map(CheckReport::failure).unwrap().clone()
    };
    let (first, again) = (run(7), run(7));
    assert_eq!(failure(&first), failure(&again));
    assert!(failure(&first).attempted().contains("of seed 7"), "{first}");
    assert_ne!(failure(&first).steps(), failure(&run(8)).steps());
}

#[test]
fn a_report_says_what_was_done_expected_and_found_and_what_the_contract_says() {
    let name = "an_older_state_is_refused_and_changes_nothing";
    let report = Naive::conformance(Fault::OlderWins).only(name).run();
    let text = report.to_string();
    for line in [
        "FAILED   an_older_state_is_refused_and_changes_nothing\n",
        "  contract   A lower version is refused as Stale and changes nothing.\n",
        "  done       1. save State 2.5 of p/k (",
        "             2. save State 2.4 of p/k (",
        "  expected   not stored: Stale { current: ",
        "  found      stored\n",
        "1 checks: 0 passed, 0 skipped, 1 failed",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

#[test]
#[should_panic(expected = "no check was run")]
fn a_name_that_no_check_has_does_not_pass() {
    Naive::conformance(None).only("nothing of this name").run().assert_passed();
}

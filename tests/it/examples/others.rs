//! The small examples.

use checkpoint_tests::example;

use crate::examples::succeed;

/// Returns the number at the start of the line that goes on with `text`.
#[track_caller]
fn number_before(text: &str, printed: &str) -> u64 {
    let number = printed.lines().find_map(|line| line.strip_suffix(text)?.trim().parse().ok());
    number.unwrap_or_else(|| panic!("no line `<number>{text}` in:\n{printed}"))
}

#[test]
fn async_tokio_loses_no_click() {
    let printed = succeed(example("async_tokio").output());
    let expected =
        "user 0 is stored: true\nuser 0 clicked 2000 times\neverything is stored: true\n";
    assert_eq!(printed, expected);
}

#[test]
fn custom_storage_keeps_the_contract_and_the_states() {
    let dir = tempfile::tempdir().unwrap();
    for visit in 1..=3 {
        let printed = succeed(example("custom_storage").arg(dir.path()).output());
        assert!(printed.contains("\npassed   epochs_rise_over_reopening\n"), "{printed}");
        assert!(printed.contains(", 0 failed\n"), "{printed}");
        assert!(printed.ends_with(&format!("\nvisit {visit}\n")), "{printed}");
    }
    let check = ["check", "--only", "histories", "--histories", "2", "--seed", "7"];
    let printed = succeed(example("custom_storage").arg(dir.path()).args(check).output());
    let passed = "passed   histories_come_out_as_the_contract_says\n\
                  1 checks: 1 passed, 0 skipped, 0 failed\n";
    assert_eq!(printed, passed);
}

#[test]
fn callbacks_tells_of_failures_and_of_the_success_in_the_end() {
    let printed = succeed(example("callbacks").output());
    assert!(printed.contains("account: account/alice not stored: "), "{printed}");
    assert!(printed.contains("account: account/alice stored at attempt 2, "), "{printed}");
    assert!(printed.ends_with("1 stored, 1 failed, 2 retried\n"), "{printed}");
}

#[test]
fn time_based_stores_far_less_often_than_it_reports() {
    let printed = succeed(example("time_based").output());
    assert_eq!(number_before(" reports", &printed), 1590);
    let before = number_before(" checkpoints before the close", &printed);
    let by_close = number_before(" checkpoints by the close", &printed);
    // Each sensor once; the busy ones as often as there were intervals, however slow the machine
    // is.
    assert!((1000..1590).contains(&(before + by_close)), "{printed}");
}

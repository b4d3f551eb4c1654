//! The script `tests/quotas` and the tests agree on the quotas.

use std::process::Command;

use checkpoint_tests::Quota;

/// Returns the value that `tests/quotas` gives a variable which is set to `preset`, or not at all.
fn sourced(set: &str, variable: &str, preset: Option<&str>) -> String {
    let script = format!(". ./quotas {set} && printf %s \"${variable}\"");
    let mut bash = Command::new("bash");
    bash.args(["-euc", &script]).current_dir(env!("CARGO_MANIFEST_DIR"));
    for variable in Quota::variables() {
        bash.env_remove(variable);
    }
    if let Some(preset) = preset {
        bash.env(variable, preset);
    }
    match bash.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into(),
        result => panic!("bash cannot source tests/quotas: {result:?}"),
    }
}

#[test]
fn a_plain_cargo_test_runs_the_quick_quotas() {
    assert!(Quota::variables().count() >= 5, "the lines of tests/quotas are no longer found");
    for variable in Quota::variables() {
        assert_eq!(sourced("quick", variable, None), Quota::of(variable).quick().to_string());
    }
}

#[test]
fn each_set_of_quotas_is_at_least_the_one_before() {
    for variable in Quota::variables() {
        let number = |set| sourced(set, variable, None).parse::<u64>().unwrap();
        assert!(number("quick") <= number("ci") && number("ci") <= number("full"), "{variable}");
    }
}

#[test]
fn a_quota_that_is_set_by_hand_stays() {
    assert_eq!(sourced("ci", Quota::KILLS.variable(), Some("7")), "7");
}

//! `sentences`: three prototypes in a row, killed between sentences.

use checkpoint_tests::{Conversation, example};

#[test]
fn no_word_is_lost_or_counted_twice_over_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut iterations = Vec::new();
    let mut counts = String::new();
    for sentence in ["to be or not to be doobie doobie da", "doobie doobie da", "doobie"] {
        // Dropped at the end of the round, and thereby killed.
        let mut program = Conversation::start(example("sentences").arg(dir.path())).unwrap();
        let lines = program.tell_until(sentence, "stored");
        for line in &lines {
            match line.split_once(' ') {
                Some((iteration, _)) => iterations.push(iteration.parse::<u32>().unwrap()),
                None => counts.clone_from(line),
            }
        }
    }
    assert_eq!(counts, "be=2;da=2;doobie=5;not=1;or=1;to=2;");
    assert_eq!(iterations, (1..=13).collect::<Vec<_>>());
}

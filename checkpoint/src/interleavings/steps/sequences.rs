//! `Sequences`: a version is given out once.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::every_order;
use crate::partition::Sequences;
use crate::record::Epoch;
use crate::sync::thread;

#[test]
fn no_version_is_drawn_twice() {
    every_order(3, || {
        let sequences = Arc::new(Sequences::new(NonZeroU32::MIN));
        sequences.start(0, Epoch(3));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let sequences = sequences.clone();
                thread::Builder::new()
                    .spawn(move || [sequences.draw(0).unwrap(), sequences.draw(0).unwrap()])
                    .unwrap()
            })
            .collect();
        let mut drawn = vec![sequences.draw(0).unwrap()];
        for thread in threads {
            let [first, second] = thread.join().unwrap();
            assert!(first < second, "{first} and then {second}");
            drawn.extend([first, second]);
        }
        drawn.sort();
        let numbers: Vec<_> = drawn.iter().map(|v| (v.epoch.0, v.sequence.0)).collect();
        assert_eq!(numbers, [(3, 1), (3, 2), (3, 3), (3, 4), (3, 5)]);
    });
}

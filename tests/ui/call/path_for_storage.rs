use checkpoint::SafeKeeper;

fn main() {
    SafeKeeper::builder("state").build().unwrap();
}

use checkpoint::{InMemoryStorage, SafeKeeper};

#[derive(Clone, PartialEq, Eq, Hash)]
struct UserId(u64);

fn main() {
    let keeper = SafeKeeper::builder(InMemoryStorage::new()).build().unwrap();
    keeper.prototype::<UserId, u64>("users");
}

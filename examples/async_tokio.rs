//! Events in tasks of tokio: no call blocks a thread of the runtime.
//!
//! The futures of the library know no runtime; any executor will do.
#![expect(clippy::print_stdout, reason = "a program talks to its user")]

use std::time::Duration;

use checkpoint::{
    Checkpointable, CheckpointingConfig, CheckpointingMode, InMemoryStorage, PePrototype,
    SafeKeeper,
};
use tokio::task::JoinSet;

const TASKS: u64 = 8;
const EVENTS: u64 = 1000;

/// A user of a shop.
#[derive(Checkpointable, Default)]
struct Session {
    clicks: u64,
    recommended: Vec<u64>,
}

type Sessions = PePrototype<String, Session>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let keeper = SafeKeeper::builder(InMemoryStorage::new()).build()?;
    let mode = CheckpointingMode::Time(Duration::from_millis(50));
    let sessions: Sessions = keeper
        .prototype("session")
        .config(CheckpointingConfig::builder(mode).build()?)
        .create(|_user| Session::default())
        .build()?;

    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        // A handle is cheap to clone, and all clones are the same prototype.
        tasks.spawn(click(sessions.clone(), task));
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }

    recommend(&sessions, "user 0").await?;

    // Waits until this user's state, as it is now, is stored.
    let version = sessions.checkpoint_async("user 0")?.await?;
    println!("user 0 is stored: {}", version.is_some());

    let clicks = sessions.process_async("user 0", |session| session.clicks).await?;
    println!("user 0 clicked {clicks} times");
    let report = keeper.close_async(Duration::from_secs(10)).await?;
    println!("everything is stored: {}", report.is_complete());
    Ok(())
}

async fn click(sessions: Sessions, task: u64) -> anyhow::Result<()> {
    for event in 0..EVENTS {
        let user = format!("user {}", (task + event) % 4);
        // Ready at once if the user is in memory; if not, the task sleeps until it is restored.
        sessions.process_async(&user, |session| session.clicks += 1).await?;
    }
    Ok(())
}

/// Holds a session across an `.await`: events of this user wait meanwhile, those of others do not.
async fn recommend(sessions: &Sessions, user: &str) -> anyhow::Result<()> {
    let mut session = sessions.pe_async(user).await?;
    let recommended = ask_a_slow_service(session.clicks).await;
    session.recommended.push(recommended);
    Ok(())
}

async fn ask_a_slow_service(clicks: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(20)).await;
    clicks % 7
}

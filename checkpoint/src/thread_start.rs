//! The start of threads, as the library sees it: injected, so that a test can run the work itself.

use std::fmt;
use std::io;

use crate::sync::thread::{self, JoinHandle};

/// Starts the threads of the pools.
pub trait ThreadStart: Send + Sync + fmt::Debug {
    /// Starts a thread of this name that runs `body`.
    ///
    /// # Errors
    /// The system has no thread to give.
    fn start(&self, name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>;
}

/// Threads of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemThreads;

impl ThreadStart for SystemThreads {
    fn start(&self, name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name(name).spawn(body)
    }
}

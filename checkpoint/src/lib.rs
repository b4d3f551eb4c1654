//! Checkpoints keyed in-memory state asynchronously and restores it lazily after a restart.

//! What a storage around another one leaves to that.

/// Implements methods of `StateStorage` by handing them on to another storage:
/// `delegate_storage!(self => self.inner; save, ids)`.
///
/// They are named one by one, as no method of the trait has a default body either: a wrapper that
/// forgets one does not compile.
#[macro_export]
macro_rules! delegate_storage {
    ($this:ident => $inner:expr; $($method:ident),+ $(,)?) => {
        $($crate::delegate_storage!(@$method $this, $inner);)+
    };
    (@capabilities $this:ident, $inner:expr) => {
        fn capabilities(&$this) -> ::checkpoint::StorageCapabilities {
            $inner.capabilities()
        }
    };
    (@save $this:ident, $inner:expr) => {
        fn save(&$this, batch: ::checkpoint::SaveBatch) {
            $inner.save(batch);
        }
    };
    (@fetch $this:ident, $inner:expr) => {
        fn fetch(&$this, entries: Vec<::checkpoint::FetchEntry>) {
            $inner.fetch(entries);
        }
    };
    (@fetch_now $this:ident, $inner:expr) => {
        fn fetch_now(
            &$this,
            id: &::checkpoint::CheckpointId,
        ) -> Option<::checkpoint::FetchOutcome> {
            $inner.fetch_now(id)
        }
    };
    (@may_contain $this:ident, $inner:expr) => {
        fn may_contain(&$this, id: &::checkpoint::CheckpointId) -> bool {
            $inner.may_contain(id)
        }
    };
    (@prefetch $this:ident, $inner:expr) => {
        fn prefetch(&$this, ids: &[::checkpoint::CheckpointId]) {
            $inner.prefetch(ids);
        }
    };
    (@fetch_many $this:ident, $inner:expr) => {
        fn fetch_many(
            &$this,
            ids: &[::checkpoint::CheckpointIdRef<'_>],
            found: &mut dyn FnMut(usize, Vec<u8>),
        ) {
            $inner.fetch_many(ids, found);
        }
    };
    (@ids $this:ident, $inner:expr) => {
        fn ids(
            &$this,
            prototype: &str,
            visit: &mut dyn FnMut(
                ::checkpoint::CheckpointId,
            ) -> ::std::ops::ControlFlow<()>,
        ) -> Result<(), ::checkpoint::StorageError> {
            $inner.ids(prototype, visit)
        }
    };
    (@versions $this:ident, $inner:expr) => {
        fn versions(
            &$this,
            id: &::checkpoint::CheckpointId,
        ) -> Result<
            Vec<::checkpoint::StoredVersion>,
            ::checkpoint::StorageError,
        > {
            $inner.versions(id)
        }
    };
    (@open_epoch $this:ident, $inner:expr) => {
        fn open_epoch(
            &$this,
            partition: u32,
        ) -> Result<::checkpoint::Epoch, ::checkpoint::StorageError> {
            $inner.open_epoch(partition)
        }
    };
    (@metadata $this:ident, $inner:expr) => {
        fn metadata(
            &$this,
            name: &str,
        ) -> Result<
            Option<::checkpoint::Metadata>,
            ::checkpoint::StorageError,
        > {
            $inner.metadata(name)
        }
    };
    (@put_metadata $this:ident, $inner:expr) => {
        fn put_metadata(
            &$this,
            name: &str,
            expected: Option<::checkpoint::MetadataVersion>,
            bytes: &[u8],
        ) -> Result<::checkpoint::MetadataVersion, ::checkpoint::StorageError> {
            $inner.put_metadata(name, expected, bytes)
        }
    };
}

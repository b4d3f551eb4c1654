::core::compile_error! {
    "serde does not show what changes in a type, so the field needs a version that you raise then; write `#[checkpoint(serde, version = 1)]`"
}
::core::compile_error! {
    "a reference cannot be restored; store the value itself, such as `String` for `&str`, or write `#[transient]` on the field"
}
const _: fn() = || {};
#[automatically_derived]
impl<T> ::checkpoint::__private::Checkpointable for Wrong<T> {
    type Staged = ();
    const MIN_SIZE: usize = 0;
    const SCHEMA: &'static ::checkpoint::__private::Schema = &::checkpoint::__private::Schema::Struct(
        &[],
    );
    fn encode(
        &self,
        _: &mut ::checkpoint::__private::Encoder,
    ) -> ::core::result::Result<(), ::checkpoint::__private::EncodeError> {
        ::core::result::Result::Ok(())
    }
    fn decode(
        _: &mut ::checkpoint::__private::Decoder<'_>,
    ) -> ::core::result::Result<(), ::checkpoint::__private::DecodeError> {
        ::core::result::Result::Ok(())
    }
    fn encode_staged(
        _: &(),
        _: &mut ::checkpoint::__private::Encoder,
    ) -> ::core::result::Result<(), ::checkpoint::__private::EncodeError> {
        ::core::result::Result::Ok(())
    }
    fn apply(&mut self, _: ()) {}
}
#[automatically_derived]
impl<T> ::checkpoint::__private::Rebuild for Wrong<T> {
    fn rebuild(_: ()) -> Self {
        ::core::unreachable!()
    }
}

use checkpoint::Checkpointable;

#[derive(Checkpointable)]
#[checkpoint(rename_all = "camelCase")]
struct Pe {
    #[checkpoint(rename = "other")]
    field: u64,
}

fn main() {}

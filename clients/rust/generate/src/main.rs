//! Makes the crate's `src/gen` of the protos: `generate DESCRIPTORS FOLDER`, where DESCRIPTORS is what `protoc
//! --descriptor_set_out` writes, with imports and comments. So building the crate needs neither protoc nor a build script.

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(descriptors), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("want: generate DESCRIPTORS FOLDER".into());
    };
    let set = prost_types::FileDescriptorSet::decode(std::fs::read(descriptors)?.as_slice())?;
    tonic_prost_build::configure().build_server(false).emit_rerun_if_changed(false).out_dir(folder).compile_fds(set)?;
    Ok(())
}

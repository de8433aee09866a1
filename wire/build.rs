//! Compiles the protocol without a `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["coppice/v1/control.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // It holds a secret: `pb` prints it without.
        .skip_debug([".coppice.v1.OriginHeader"])
        .compile_fds(files)?;
    Ok(())
}

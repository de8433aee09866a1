//! What operator and sidecar say to each other.
//!
//! ```text
//! proto/coppice/v1/control.proto ──build.rs──► pb      the messages and the service
//! convert.rs    coppice-cache types ◄──► pb
//! env.rs        the sidecar's environment variables: the injector writes them, the sidecar reads them
//! ```

/// The generated messages and the service of `proto/coppice/v1/control.proto`.
#[allow(missing_docs, clippy::pedantic, clippy::all)]
pub mod pb {
    tonic::include_proto!("coppice.v1");

    impl std::fmt::Debug for OriginHeader {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "OriginHeader({}: …)", self.name)
        }
    }
}

pub mod convert;
pub mod env;

/// The protocol version of this release.
pub const PROTOCOL: u32 = 1;

//! What users write: the custom resources of `coppice.dev/v1alpha1` and the names around them.
//!
//! ```text
//! route.rs     IsrRoute: which paths are cached, for how long        ─┐
//! request.rs   RevalidationRequest: what to purge, and how it went    │
//! interval.rs  "60", "5m", "never": one type, one parser              ├─► crds.rs ─► bin/crdgen ─► crds/, charts/coppice/
//! quantity.rs  "128Mi": amounts of bytes                              │
//! schema.rs    bounds, list types and CEL rules of single fields      │
//! status.rs    what both statuses share                              ─┘
//! names.rs     every label, annotation, port, condition and reason
//! ```

pub mod crds;
pub mod interval;
pub mod names;
pub mod quantity;
pub mod request;
pub mod route;
pub mod schema;
pub mod status;

pub use interval::{Interval, Span};
pub use request::{RevalidationRequest, RevalidationRequestSpec, RevalidationRequestStatus, Strategy};
pub use route::{IsrRoute, IsrRouteSpec, IsrRouteStatus, Rule};

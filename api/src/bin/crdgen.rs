//! Prints the custom resource definitions as YAML, one document each.

use coppice_api::{IsrRoute, RevalidationRequest};
use kube::CustomResourceExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for crd in [IsrRoute::crd(), RevalidationRequest::crd()] {
        println!("---\n{}", serde_saphyr::to_string(&crd)?);
    }
    Ok(())
}

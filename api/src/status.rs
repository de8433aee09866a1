//! What both statuses share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The conditions of a status, found by type.
pub trait Conditions {
    /// All conditions, in the order in which they are written.
    fn conditions(&self) -> &[Condition];

    /// The condition of this type, if it was ever set.
    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions().iter().find(|c| c.type_ == kind)
    }

    /// Is this condition there and `True`?
    fn is_true(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|c| c.status == "True")
    }
}

//! Which Kubernetes this is.

use k8s_openapi::apimachinery::pkg::version::Info;

/// The first minor version of Kubernetes 1 with stable native sidecars (KEP-753).
const NATIVE_SIDECARS: u32 = 33;

/// Does this server have stable native sidecars? Vendors append to the numbers (`33+`, `33-gke`).
pub fn has_native_sidecars(info: &Info) -> bool {
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse::<u32>().unwrap_or(0)
    };
    (number(&info.major), number(&info.minor)) >= (1, NATIVE_SIDECARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("1", "33", true)]
    #[case("1", "35+", true)]
    #[case("2", "0", true)]
    #[case("1", "32", false)]
    #[case("1", "32+", false)]
    #[case("", "", false)]
    fn version_knows_native_sidecars(#[case] major: &str, #[case] minor: &str, #[case] expected: bool) {
        let info = Info {
            major: major.to_owned(),
            minor: minor.to_owned(),
            ..Info::default()
        };
        assert_eq!(has_native_sidecars(&info), expected);
    }
}

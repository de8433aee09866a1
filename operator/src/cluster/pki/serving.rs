//! The certificate that the listeners present; swapped while they serve.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::sign::any_ecdsa_type,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::CertificateDer;
use tracing::error;

use super::authority::Leaf;

/// What every handshake is answered with from now on.
#[derive(Default)]
pub struct Serving {
    current: ArcSwapOption<Presented>,
}

struct Presented {
    certified: Arc<CertifiedKey>,
    leaf: Leaf,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

impl Serving {
    /// A TLS configuration that presents whatever is current, for these protocols (ALPN, RFC 7301).
    pub fn server_config(self: &Arc<Self>, protocols: &[&str]) -> ServerConfig {
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    pub(super) fn is_due(&self, signer: &CertificateDer<'_>, now: Timestamp) -> bool {
        self.current
            .load()
            .as_ref()
            .is_none_or(|presented| presented.leaf.is_due(signer, now))
    }

    pub(super) fn present(&self, leaf: Leaf) {
        match any_ecdsa_type(&leaf.key) {
            Ok(key) => {
                let certified = Arc::new(CertifiedKey::new(leaf.chain.clone(), key));
                self.current.store(Some(Arc::new(Presented { certified, leaf })));
            }
            // The key was made a moment ago by the same library.
            Err(error) => error!(%error, "failed to use the new certificate; the former one stays"),
        }
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current
            .load()
            .as_ref()
            .map(|presented| presented.certified.clone())
    }
}

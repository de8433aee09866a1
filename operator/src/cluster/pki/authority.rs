//! Certificate authorities and what they sign: pure but for the random numbers in keys; `now` is an argument.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::parse_x509_certificate;

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long an authority lives.
const LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 365);
/// The next authority joins the bundle this long before the last one ends.
const OVERLAP: SignedDuration = SignedDuration::from_hours(24 * 30);
/// A new authority signs only when everybody has had this long to learn of it.
const SPREAD: SignedDuration = DAY;
/// How long a leaf lives; it is renewed after two thirds of it.
const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 7);
/// Certificates begin a little in the past, for peers whose clock is slow.
const BACKDATE: SignedDuration = SignedDuration::from_mins(10);

/// Why an authority cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The PEM text holds no usable authority.
    #[error("failed to read the certificate authority: {0}")]
    Unreadable(String),
    /// Making a key or certificate failed.
    #[error("failed to make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// What to do with these authorities at this moment.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Indices of those that have not expired, in order.
    keep: Vec<usize>,
    /// Is a new one due?
    add: bool,
}

/// One self-signed certificate and its key.
struct Ca {
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
    validity: Validity,
}

/// The authorities in force, oldest first; at least one.
pub struct Authority {
    all: Vec<Ca>,
}

/// A certificate for the operator's listeners.
pub(super) struct Leaf {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// The authority that signed it.
    pub(super) signer: CertificateDer<'static>,
    pub(super) not_before: Timestamp,
    /// When it ends.
    pub(super) not_after: Timestamp,
}

impl Authority {
    /// A new authority, valid from now.
    pub fn new(now: Timestamp) -> Result<Self, AuthorityError> {
        Ok(Self {
            all: vec![Ca::new(now)?],
        })
    }

    /// Certificates and keys in PEM, in the same order.
    pub fn parse(certificates: &str, keys: &str) -> Result<Self, AuthorityError> {
        let unreadable = |error: rustls_pki_types::pem::Error| AuthorityError::Unreadable(error.to_string());
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(certificates.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        let keys: Vec<_> = PrivateKeyDer::pem_slice_iter(keys.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        if certificates.is_empty() || certificates.len() != keys.len() {
            return Err(AuthorityError::Unreadable(format!(
                "{} certificates and {} keys; as many of each are needed, at least one",
                certificates.len(),
                keys.len()
            )));
        }
        let mut all = certificates
            .into_iter()
            .zip(&keys)
            .map(|(der, key)| Ca::parse(der, key))
            .collect::<Result<Vec<_>, _>>()?;
        all.sort_by_key(|ca| ca.validity.not_before);
        Ok(Self { all })
    }

    /// The authorities that should be in force now; `None`: these.
    pub fn rotated(&self, now: Timestamp) -> Result<Option<Self>, AuthorityError> {
        let plan = plan(&self.validities(), now);
        if !plan.add && plan.keep.len() == self.all.len() {
            return Ok(None);
        }
        let mut all = plan
            .keep
            .iter()
            .map(|&index| self.all[index].copy())
            .collect::<Result<Vec<_>, _>>()?;
        if plan.add {
            all.push(Ca::new(now)?);
        }
        Ok(Some(Self { all }))
    }

    /// All certificates, PEM: what peers trust.
    pub fn bundle(&self) -> String {
        self.all.iter().map(|ca| ca.pem.as_str()).collect()
    }

    /// All keys, PEM, in the order of the bundle.
    pub(super) fn keys(&self) -> String {
        self.all.iter().map(|ca| ca.key.serialize_pem()).collect()
    }

    /// The certificate of the authority that signs now.
    pub(super) fn signer(&self, now: Timestamp) -> &CertificateDer<'static> {
        &self.all[signer(&self.validities(), now)].der
    }

    /// Signs a certificate for a server of these names.
    pub(super) fn leaf(&self, names: &[String], now: Timestamp) -> Result<Leaf, AuthorityError> {
        let ca = &self.all[signer(&self.validities(), now)];
        let validity = Validity {
            not_before: now - BACKDATE,
            not_after: (now + LEAF_LIFETIME).min(ca.validity.not_after),
        };
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "coppice-operator");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        validity.write(&mut params);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &Issuer::from_ca_cert_der(&ca.der, &ca.key)?)?;
        Ok(Leaf {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            signer: ca.der.clone(),
            not_before: now,
            not_after: validity.not_after,
        })
    }

    fn validities(&self) -> Vec<Validity> {
        self.all.iter().map(|ca| ca.validity).collect()
    }
}

impl Leaf {
    /// Is it time for the next one?
    pub(super) fn is_due(&self, signer: &CertificateDer<'_>, now: Timestamp) -> bool {
        let life = self.not_after.duration_since(self.not_before);
        self.signer != *signer || now >= self.not_before + life * 2 / 3
    }
}

impl Ca {
    fn new(now: Timestamp) -> Result<Self, AuthorityError> {
        let validity = Validity {
            not_before: now - BACKDATE,
            not_after: now + LIFETIME,
        };
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        // A name of its own, so that peers with several in their bundle find the right one by name.
        let name = format!("coppice-ca-{}", now.as_second());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        validity.write(&mut params);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            key,
            validity: validity.in_seconds(),
        })
    }

    fn parse(der: CertificateDer<'static>, key: &PrivateKeyDer<'_>) -> Result<Self, AuthorityError> {
        let unreadable = |what: &str| AuthorityError::Unreadable(what.to_owned());
        let key = KeyPair::try_from(key).map_err(|error| unreadable(&error.to_string()))?;
        let (_, parsed) =
            parse_x509_certificate(&der).map_err(|error| unreadable(&format!("no certificate: {error}")))?;
        if !parsed.is_ca() {
            return Err(unreadable("the certificate is no authority"));
        }
        if parsed.public_key().subject_public_key.data.as_ref() != rcgen::PublicKeyData::der_bytes(&key) {
            return Err(unreadable(
                "a certificate and the key at its place do not belong together",
            ));
        }
        let moment = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| unreadable(&error.to_string()))
        };
        let validity = Validity {
            not_before: moment(parsed.validity().not_before)?,
            not_after: moment(parsed.validity().not_after)?,
        };
        Ok(Self {
            pem: pem(&der),
            key,
            validity,
            der,
        })
    }

    fn copy(&self) -> Result<Self, AuthorityError> {
        Ok(Self {
            pem: self.pem.clone(),
            der: self.der.clone(),
            key: KeyPair::try_from(&PrivateKeyDer::Pkcs8(self.key.serialize_der().into()))?,
            validity: self.validity,
        })
    }
}

impl Validity {
    fn write(self, params: &mut CertificateParams) {
        let at = |moment: Timestamp| {
            let seconds = u64::try_from(moment.as_second()).unwrap_or_default();
            date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        params.not_before = at(self.not_before);
        params.not_after = at(self.not_after);
    }

    /// As a certificate has it.
    fn in_seconds(self) -> Self {
        let cut = |moment: Timestamp| Timestamp::from_second(moment.as_second()).unwrap_or(moment);
        Self {
            not_before: cut(self.not_before),
            not_after: cut(self.not_after),
        }
    }
}

/// PEM with lines of 64 characters, as every reader of certificates takes it (RFC 7468).
fn pem(der: &[u8]) -> String {
    use k8s_openapi::ByteString;
    // `ByteString` writes itself in base64: no encoder of our own.
    let text = serde_json::to_value(ByteString(der.to_vec())).unwrap_or_default();
    let text = text.as_str().unwrap_or_default();
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().map(|&b| char::from(b)));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

fn plan(all: &[Validity], now: Timestamp) -> Plan {
    let keep: Vec<usize> = (0..all.len())
        .filter(|&index| all[index].not_after > now)
        .collect();
    let add = keep
        .last()
        .is_none_or(|&newest| all[newest].not_after.duration_since(now) < OVERLAP);
    Plan { keep, add }
}

/// The newest authority that everybody has had time to learn of; where there is none, the oldest that has not expired.
fn signer(all: &[Validity], now: Timestamp) -> usize {
    let known = all
        .iter()
        .rposition(|v| v.not_before + BACKDATE + SPREAD <= now && v.not_after > now);
    let valid = || all.iter().position(|v| v.not_after > now);
    known.or_else(valid).unwrap_or(all.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const BORN: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn days(number: i64) -> SignedDuration {
        SignedDuration::from_hours(24 * number)
    }

    /// An authority born on this day and valid for a year.
    fn of_day(day: i64) -> Validity {
        Validity {
            not_before: BORN + days(day) - BACKDATE,
            not_after: BORN + days(day) + LIFETIME,
        }
    }

    #[rstest]
    #[case::none(&[], 0, &[], true)]
    #[case::fresh(&[0], 0, &[0], false)]
    #[case::before_the_overlap(&[0], 334, &[0], false)]
    #[case::in_the_overlap(&[0], 336, &[0], true)]
    #[case::both(&[0, 336], 350, &[0, 1], false)]
    #[case::the_first_has_ended(&[0, 336], 366, &[1], false)]
    #[case::away_for_two_years(&[0, 336], 800, &[], true)]
    fn pki_plans_the_rotation(
        #[case] births: &[i64],
        #[case] today: i64,
        #[case] keep: &[usize],
        #[case] add: bool,
    ) {
        let all: Vec<_> = births.iter().map(|&day| of_day(day)).collect();
        let expected = Plan {
            keep: keep.to_vec(),
            add,
        };
        assert_eq!(plan(&all, BORN + days(today)), expected);
    }

    #[rstest]
    #[case::the_only_one(&[0], 0, 0)]
    #[case::a_new_one_is_not_known_yet(&[0, 336], 336, 0)]
    #[case::a_day_later_it_is(&[0, 336], 337, 1)]
    #[case::the_old_one_has_ended_early(&[0, 364], 365, 1)]
    fn pki_signs_with_an_authority_that_peers_know(
        #[case] births: &[i64],
        #[case] today: i64,
        #[case] index: usize,
    ) {
        let all: Vec<_> = births.iter().map(|&day| of_day(day)).collect();
        assert_eq!(signer(&all, BORN + days(today)), index);
    }

    #[test]
    fn pki_reads_what_it_wrote() {
        let one = Authority::new(BORN).unwrap();
        let two = one.rotated(BORN + days(340)).unwrap().expect("in the overlap");
        let read = Authority::parse(&two.bundle(), &two.keys()).unwrap();
        assert_eq!(read.bundle(), two.bundle());
        assert_eq!(read.validities(), two.validities());
        assert!(read.rotated(BORN + days(341)).unwrap().is_none());
        let swapped = format!(
            "{}{}",
            two.all[1].key.serialize_pem(),
            two.all[0].key.serialize_pem()
        );
        assert!(
            Authority::parse(&two.bundle(), &swapped).is_err(),
            "keys in the wrong order"
        );
        assert!(
            Authority::parse(&two.bundle(), &one.keys()).is_err(),
            "a key is missing"
        );
        assert!(Authority::parse("", "").is_err());
    }

    #[test]
    fn pki_renews_a_leaf_in_time_and_when_the_signer_changes() {
        let one = Authority::new(BORN).unwrap();
        let names = ["a.svc".to_owned()];
        let leaf = one.leaf(&names, BORN).unwrap();
        assert!(!leaf.is_due(one.signer(BORN), BORN + days(4)));
        assert!(leaf.is_due(one.signer(BORN), BORN + days(5)));
        let later = BORN + days(340);
        let two = one.rotated(later).unwrap().unwrap();
        let leaf = two.leaf(&names, later).unwrap();
        assert!(!leaf.is_due(two.signer(later), later));
        assert!(leaf.is_due(two.signer(later + days(1)), later + days(1)));
        let last = BORN + days(364);
        assert_eq!(
            one.leaf(&names, last).unwrap().not_after,
            BORN + LIFETIME,
            "no leaf outlives its signer"
        );
    }
}

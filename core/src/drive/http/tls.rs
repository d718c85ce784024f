//! Sets TLS up: which authorities are trusted, and how a failed handshake reads.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, InvalidMessage, PeerIncompatible, RootCertStore, crypto,
};

use super::failure::{of_system, shortage};
use crate::error::Error;
use crate::settings::config::Config;
use crate::text::bytes_without_mark;

/// The certificate authorities that a client trusts.
pub(super) struct Trust {
    /// The authorities in `ca_file`; without that setting the platform verifies.
    roots: Option<Arc<RootCertStore>>,
    in_words: Arc<str>,
}

impl Trust {
    /// Reads `ca_file`, where the settings name one.
    pub fn new(config: &Config) -> Result<Trust, Error> {
        let Some(path) = &config.ca_file else {
            return Ok(Trust { roots: None, in_words: "the system's authorities; ca_file names others".into() });
        };
        let refuse = |why: String| {
            Error::invalid(format!("ca_file {path:?} {why}; it must be a PEM file of certificate authorities to trust"))
        };
        let mut roots = RootCertStore::empty();
        let file = fs::read(path).map_err(|error| refuse(format!("cannot be read ({})", of_system(&error))))?;
        for certificate in CertificateDer::pem_slice_iter(bytes_without_mark(&file)) {
            certificate
                .map_err(|error| error.to_string())
                .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
                .map_err(|error| refuse(format!("holds a certificate that cannot be read ({error})")))?;
        }
        if roots.is_empty() {
            return Err(refuse("holds no certificate".into()));
        }
        let in_words = format!("the authorities in ca_file {}", path.display());
        Ok(Trust { roots: Some(Arc::new(roots)), in_words: in_words.into() })
    }

    pub fn in_words(&self) -> Arc<str> {
        self.in_words.clone()
    }

    /// The TLS set-up of one pool.
    pub fn client_config(&self) -> Result<ClientConfig, String> {
        // The provider is handed over, so that none is installed for the whole process, which is the host's.
        let provider = Arc::new(crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_details(provider.clone(), Arc::new(Clock))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("TLS could not be set up", &error))?;
        if let Some(roots) = &self.roots {
            return Ok(tls.with_root_certificates(roots.clone()).with_no_client_auth());
        }
        // Authorities that could not be read for want of a descriptor would be missing from then on.
        if let Some(shortage) = shortage() {
            return Err(unusable("the system's certificate authorities cannot be read", &shortage));
        }
        let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(|_| {
            unusable("the system's certificate authorities cannot be read, give ca_file", &authorities_in_words())
        })?;
        // rustls calls every verifier but its own dangerous; this one is the platform's.
        Ok(tls.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
    }
}

/// This machine's clock, as certificates are checked by it. rustls's own would panic before 1970.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        unix_time(SystemTime::now())
    }
}

fn unix_time(time: SystemTime) -> Option<UnixTime> {
    time.duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
}

/// The reason why no connection can be made at all, in words.
fn unusable(what: &str, why: &dyn fmt::Display) -> String {
    format!("{what} ({why})")
}

/// The authorities that are trusted where no `ca_file` names others, in words. They are read as the platform verifier
/// reads them.
#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
pub(crate) fn authorities_in_words() -> String {
    let found = rustls_native_certs::load_native_certs();
    let (usable, unusable) = RootCertStore::empty().add_parsable_certificates(found.certs);
    let variables = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    let set = variables.iter().filter_map(|name| Some(format!("{name}={}", std::env::var_os(name)?.display())));
    let mut places: Vec<String> = set.collect();
    if places.is_empty() {
        let probed = openssl_probe::probe();
        places = probed.cert_file.iter().chain(&probed.cert_dir).map(|path| path.display().to_string()).collect();
    }
    let places = if places.is_empty() { "no place that is known".to_owned() } else { places.join(" and ") };
    let mut words = match usable {
        0 => format!("NONE in {places}, so no https call can succeed: name a PEM file in SSL_CERT_FILE or ca_file"),
        _ => format!("{usable} in {places}"),
    };
    if unusable > 0 {
        words.push_str(&format!("; {unusable} more cannot be used"));
    }
    for error in found.errors {
        words.push_str(&format!("; {error}"));
    }
    words
}

/// The same where the operating system verifies by itself.
#[cfg(not(all(unix, not(target_vendor = "apple"), not(target_os = "android"))))]
pub(crate) fn authorities_in_words() -> String {
    "the operating system's own, asked for each connection".to_owned()
}

/// The reason why a handshake failed, for somebody who has to fix it.
pub(super) fn handshake_failure(error: &rustls::Error, host: &str, trusted: &str) -> String {
    match error {
        rustls::Error::InvalidCertificate(what) => {
            format!("the certificate shown for {host} {} (trusted are {trusted})", certificate_fault(what))
        }
        rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server speaks neither TLS 1.2 nor TLS 1.3".to_owned()
        }
        rustls::Error::AlertReceived(alert) => format!("the server broke off the TLS handshake ({alert:?})"),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what answers there speaks no TLS; is it the right port?".to_owned()
        }
        rustls::Error::FailedToGetCurrentTime => {
            "the clock of this machine stands before 1970, so no certificate can be checked".to_owned()
        }
        other => format!("the TLS handshake failed ({other})"),
    }
}

fn certificate_fault(fault: &CertificateError) -> String {
    // The last second of 9999 is the last that an HTTP date can write.
    let date = |time: &UnixTime| {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time.as_secs().min(253_402_300_799)))
    };
    match fault {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("expired on {}, the clock here says {}", date(not_after), date(time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("is not valid before {}, the clock here says {}", date(not_before), date(time))
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "names no host that it is for".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            // Each name is written like DnsName("klarna.com").
            let names = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name));
            format!("is for {}", names.collect::<Vec<_>>().join(", "))
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is signed by no authority that is trusted".to_owned()
        }
        other => format!("cannot be trusted ({other})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_1970_is_said_and_is_no_panic() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(
            (unix_time(before), unix_time(UNIX_EPOCH)),
            (None, Some(UnixTime::since_unix_epoch(Duration::ZERO)))
        );
        let failure = handshake_failure(&rustls::Error::FailedToGetCurrentTime, "klarna.test", "the system's");
        assert!(failure.contains("before 1970"), "{failure}");
    }

    #[test]
    fn dates_beyond_what_a_calendar_of_http_has_are_words_too() {
        let never = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
        let fault = CertificateError::ExpiredContext { time: never, not_after: never };
        assert!(certificate_fault(&fault).starts_with("expired on "), "{}", certificate_fault(&fault));
    }
}

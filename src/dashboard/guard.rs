//! Who may ask, and what every answer says to browsers.
//!
//! ```text
//!   any request    its Host is one of this node's names        otherwise a foreign page has one that leads here (DNS rebinding)
//!   below /api/    no browser says that a foreign page asks    such a page cannot read answers, but could have many made
//!   a change       is JSON, with a header that no form can set, from a page of this very origin     (cross-site requests)
//!                  with the token, where there is one
//!   any answer     headers that let a browser load and send nothing but from and to here
//! ```

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;
use tokio::io::AsyncReadExt as _;

use super::failure::Failure;
use super::site::Site;
use crate::config::{Address, NodeConfig, Secret};
use crate::transport::Throttle;

/// What a browser may do with what comes from here: load scripts, styles and images from here, and ask here. No text becomes
/// code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const HEADERS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("x-frame-options"), "DENY"),
];

/// What a form of a foreign page cannot send, and a script of one only if it is allowed to, which nobody is.
const MARK: HeaderName = HeaderName::from_static("x-quorate-request");

/// In this a browser says whether a page of this origin asks, or somebody who typed the address. Programs that are none leave it out.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where the metrics of this node are. Prometheus finds nodes under addresses that are no names of theirs.
pub(super) const METRICS: &str = "/metrics";

/// A file with a token is not longer.
const TOKEN_FILE_BYTES_MAX: u64 = 4 << 10;

/// That a file has no token is logged once in this long, however often somebody tries.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Who may ask.
#[derive(Debug)]
pub(super) struct Guard {
    /// Names under which the node may be asked, in lower case.
    hosts: Vec<String>,
    token: Token,
    /// Lines about a file without a token.
    complaints: Throttle,
}

/// What somebody must know to change anything.
#[derive(Debug)]
enum Token {
    Nothing,
    Is(Secret),
    /// What stands in the file at the time.
    In(PathBuf),
}

impl Guard {
    /// By the settings. People reach the port under `advertised`.
    pub(super) fn new(config: &NodeConfig, advertised: &Address) -> Self {
        let addresses = [&config.client.advertise, &config.peer.advertise].into_iter().flatten().chain([advertised]);
        let own = addresses.map(|Address { host, .. }| host).chain([&config.node.name]);
        let hosts = own.chain(&config.admin.hosts).map(|host| plain(host)).collect();
        let token = match (&config.admin.token, &config.admin.token_file) {
            (Some(token), _) => Token::Is(token.clone()),
            (None, Some(file)) => Token::In(file.clone()),
            (None, None) => Token::Nothing,
        };
        Self { hosts, token, complaints: Throttle::new(COMPLAINT_INTERVAL) }
    }

    /// True where changes need a token.
    pub(super) fn needs_token(&self) -> bool {
        !matches!(self.token, Token::Nothing)
    }

    /// Whether a node may be asked under this name.
    fn admits(&self, host: &str) -> Result<(), Failure> {
        let authority = host.parse::<Authority>().ok().filter(|authority| !authority.as_str().contains('@'));
        let Some(authority) = authority else {
            return Err(Failure::field("host", "expected HOST or HOST:PORT"));
        };
        let name = plain(authority.host());
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&name);
        if address.parse::<IpAddr>().is_ok() || name == "localhost" || self.hosts.contains(&name) {
            return Ok(());
        }
        let message = format!(
            "this node is not asked under the name {name:?}, which could be that of a foreign page; to allow it, add it to \
             admin.hosts in the settings of the node"
        );
        Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, "HOST_NOT_ALLOWED", message))
    }

    /// Whether somebody may change something.
    pub(super) async fn admits_change(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        check_origin(uri, headers)?;
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let needed = || {
            let message = "changes need the token that admin.token or admin.token_file of this node says";
            Failure::new(StatusCode::UNAUTHORIZED, "TOKEN_NEEDED", message)
        };
        let token = match &self.token {
            Token::Nothing => return Ok(()),
            Token::Is(token) => token.clone(),
            // Nobody has a file read, and complaints logged, who does not even try.
            Token::In(_) if given.is_none() => return Err(needed()),
            Token::In(file) => self.read_token(file).await?,
        };
        match given {
            None => Err(needed()),
            // Takes as long for a token that is wrong at its beginning as for one that is wrong at its end.
            Some(given) if bool::from(given.as_bytes().ct_eq(token.reveal().as_bytes())) => Ok(()),
            Some(_) => Err(Failure::new(StatusCode::FORBIDDEN, "TOKEN_WRONG", "this is not the token of this node")),
        }
    }

    /// The token that a file has in it, as a mounted Secret has: with a line end, or without.
    async fn read_token(&self, file: &Path) -> Result<Secret, Failure> {
        let read = async {
            let mut text = String::new();
            tokio::fs::File::open(file).await?.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text).await?;
            text.trim().parse::<Secret>().map_err(std::io::Error::other)
        };
        read.await.map_err(|error| {
            if let Some(held_back) = self.complaints.pass() {
                tracing::warn!(
                    held_back,
                    "admin.token_file, {}, has no token that could be compared: {error}",
                    file.display()
                );
            }
            let message = "the file that admin.token_file names has no usable token; the log of this node says why";
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "TOKEN_UNREADABLE", message)
        })
    }
}

/// Host names are the same in capitals, and with the dot at the end that makes them absolute.
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Whether a change comes from a page of this origin, or from a program that says so.
fn check_origin(uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_json = text(&CONTENT_TYPE).is_some_and(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    });
    if !is_json {
        let message = "expected Content-Type: application/json";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "NOT_JSON", message));
    }
    let origin = text(&ORIGIN).and_then(|origin| {
        let (scheme, authority) = origin.split_once("://")?;
        ["http", "https"].contains(&scheme).then_some(authority)
    });
    let foreign = text(&SITE).is_some_and(|site| site != "same-origin");
    let here = host(uri, headers);
    let is_here = origin.zip(here).is_some_and(|(origin, here)| origin.eq_ignore_ascii_case(here));
    if text(&MARK) != Some("1") || !is_here || foreign {
        let message = "a change is taken only from this node's own page: with the header X-Quorate-Request: 1, and an Origin \
                       that is http:// or https:// and what Host says";
        return Err(Failure::new(StatusCode::FORBIDDEN, "CROSS_SITE", message));
    }
    Ok(())
}

/// Whether anything may be asked below `/api/`: a foreign page could not read what it gets, but it could take all places.
fn check_site(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(SITE).map(HeaderValue::as_bytes) {
        None | Some(b"none" | b"same-origin") => Ok(()),
        Some(_) => {
            let message = "a page of another origin may not ask here; open this address itself";
            Err(Failure::new(StatusCode::FORBIDDEN, "CROSS_SITE", message))
        }
    }
}

/// Under which name a request has come. An address that names it as well counts more (RFC 9112, section 3.2.2).
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut said = headers.get_all(HOST).iter();
    match (uri.authority(), said.next(), said.next()) {
        (Some(authority), _, _) => Some(authority.as_str()),
        (None, Some(host), None) => host.to_str().ok(),
        (None, _, _) => None,
    }
}

/// Around everything on the admin port.
pub(super) async fn around(State(site): State<Site>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let (is_metrics, is_api) = (path == METRICS, path.starts_with("/api/"));
    let admitted = match host(request.uri(), request.headers()) {
        _ if is_metrics => Ok(()),
        Some(host) => site.guard().admits(host),
        None => Err(Failure::field("host", "expected one header Host")),
    };
    let admitted = admitted.and_then(|()| if is_api { check_site(request.headers()) } else { Ok(()) });
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_api || is_metrics || !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(change: impl FnOnce(&mut NodeConfig)) -> Guard {
        let mut config = NodeConfig::default();
        config.node.name = "Q-0".to_owned();
        config.client.advertise = Some("q-0.peers.svc:7400".parse().unwrap());
        config.admin.hosts = vec!["Quorate.example".to_owned()];
        change(&mut config);
        Guard::new(&config, &"machine.example:7402".parse().unwrap())
    }

    /// A page of `evil.example` can have its name lead to this node, but not choose the name.
    #[test]
    fn only_own_names_and_addresses_are_answered() {
        let guard = guard(|_| {});
        for host in [
            "127.0.0.1:7402",
            "[::1]:7402",
            "10.1.2.3",
            "localhost",
            "LOCALHOST:1",
            "q-0",
            "q-0.peers.svc.:7402",
            "quorate.example",
            "machine.example",
        ] {
            assert_eq!(guard.admits(host), Ok(()), "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7402", "xq-0", "q-0.evil.example"]
        {
            let refused = guard.admits(host).unwrap_err();
            assert_eq!(refused.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
            assert!(refused.message.contains("admin.hosts"), "{}", refused.message);
        }
        for host in ["", "a b", "user@localhost", "localhost/..", "localhost:x:y"] {
            assert_eq!(guard.admits(host).unwrap_err().status, StatusCode::BAD_REQUEST, "{host}");
        }
    }

    fn headers(given: &[(&str, &str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    const GOOD: [(&str, &str); 4] = [
        ("host", "127.0.0.1:7402"),
        ("origin", "http://127.0.0.1:7402"),
        ("content-type", "application/json; charset=utf-8"),
        ("x-quorate-request", "1"),
    ];

    async fn refusal(guard: &Guard, given: &[(&str, &str)]) -> Option<(u16, String)> {
        let refused = guard.admits_change(&Uri::from_static("/api/queue/send"), &headers(given)).await;
        refused.err().map(|refused| (refused.status.as_u16(), refused.reason))
    }

    #[tokio::test]
    async fn a_change_comes_from_the_own_page_only() {
        let guard = guard(|_| {});
        assert_eq!(refusal(&guard, &GOOD).await, None);
        let cross_site = Some((403, "CROSS_SITE".to_owned()));
        for (name, value, expected) in [
            ("content-type", "text/plain", Some((415, "NOT_JSON".to_owned()))),
            ("content-type", "text/plain;application/json", Some((415, "NOT_JSON".to_owned()))),
            ("x-quorate-request", "0", cross_site.clone()),
            ("origin", "http://evil.example", cross_site.clone()),
            ("origin", "http://127.0.0.1:7412", cross_site.clone()),
            ("origin", "file://127.0.0.1:7402", cross_site.clone()),
            ("origin", "null", cross_site.clone()),
            ("host", "127.0.0.1", cross_site.clone()),
            ("origin", "https://127.0.0.1:7402", None),
        ] {
            let given = GOOD.map(|(key, good)| (key, if key == name { value } else { good }));
            assert_eq!(refusal(&guard, &given).await, expected, "{name}: {value}");
        }
        for missing in ["origin", "x-quorate-request"] {
            let given: Vec<_> = GOOD.into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(refusal(&guard, &given).await, cross_site, "{missing}");
        }
        let mut from_elsewhere = GOOD.to_vec();
        from_elsewhere.push(("sec-fetch-site", "cross-site"));
        assert_eq!(refusal(&guard, &from_elsewhere).await, cross_site);
    }

    #[test]
    fn no_foreign_page_asks_anything() {
        assert_eq!(check_site(&headers(&[])), Ok(()), "programs do not say");
        for (site, admitted) in
            [("none", true), ("same-origin", true), ("same-site", false), ("cross-site", false), ("", false)]
        {
            assert_eq!(check_site(&headers(&[("sec-fetch-site", site)])).is_ok(), admitted, "{site}");
        }
    }

    #[tokio::test]
    async fn a_change_needs_the_token_where_there_is_one() {
        let with = |value: &'static str| [&GOOD[..], &[("authorization", value)]].concat();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "0123456789-abcdef\n").unwrap();
        let fixed = guard(|config| config.admin.token = Some("0123456789-abcdef".parse().unwrap()));
        let in_file = guard(|config| config.admin.token_file = Some(file.clone()));
        for guard in [&fixed, &in_file] {
            assert!(guard.needs_token());
            assert_eq!(refusal(guard, &with("Bearer 0123456789-abcdef")).await, None);
            assert_eq!(refusal(guard, &GOOD).await, Some((401, "TOKEN_NEEDED".to_owned())));
            assert_eq!(refusal(guard, &with("Basic 0123456789-abcdef")).await, Some((401, "TOKEN_NEEDED".to_owned())));
            for wrong in ["Bearer 0123456789-abcdeg", "Bearer ", "Bearer 0123456789-abcde", "Bearer 0123456789-abcdeff"]
            {
                assert_eq!(refusal(guard, &with(wrong)).await, Some((403, "TOKEN_WRONG".to_owned())), "{wrong}");
            }
        }
        std::fs::write(&file, "another-token-of-now").unwrap();
        assert_eq!(refusal(&in_file, &with("Bearer another-token-of-now")).await, None, "it is read at each use");
        std::fs::write(&file, "").unwrap();
        let unusable = Some((503, "TOKEN_UNREADABLE".to_owned()));
        assert_eq!(refusal(&in_file, &with("Bearer ")).await, unusable, "no token is not an empty one");
        assert_eq!(refusal(&in_file, &GOOD).await, Some((401, "TOKEN_NEEDED".to_owned())), "it is not read");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(refusal(&in_file, &with("Bearer another-token-of-now")).await, unusable);
    }
}

use std::future::Future;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::again::again;
use crate::line::Service;
use crate::{Error, Result};

const FORMS: &str = "want host:port, such as 127.0.0.1:7431, tls://host:port, or unix:/path";
const TLS: &str = "tls://";
const RETRY: Duration = Duration::from_millis(100);
const KEEPALIVE: Duration = Duration::from_secs(20);
const MAX_CLIENT_NAME: usize = 255; // characters
const MAX_FRAME_BYTES: u32 = 4 * 1024 * 1024;

/// A connection that the stubs of [`crate::v1`] call by; it is made anew where it is lost.
pub type Line = InterceptedService<Channel, Caller>;

/// How a connection is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// A bearer token. It goes over TLS, to a UNIX socket or to loopback alone: elsewhere connecting fails.
    pub token: Option<String>,
    /// What this client is called, for people: subscriptions, leases and records that it wrote show it, also after a reconnect. It
    /// proves nothing. At most 255 characters that can be printed. None: what TRUNKLINE_CLIENT_NAME says, else the host's name and
    /// the process.
    pub client_name: Option<String>,
    /// How long connecting may take, also where the service refuses it for now. Default: 5 s.
    pub connect_timeout: Duration,
    /// Waits for a service that cannot be reached yet, as long as connecting may take. Default: true; else that is an error at once.
    pub wait_for_ready: bool,
    /// What is trusted and shown at a tls:// address. None: the operating system's authorities.
    #[cfg(feature = "tls")]
    pub tls: Option<tonic::transport::ClientTlsConfig>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: None,
            client_name: None,
            connect_timeout: Duration::from_secs(5),
            wait_for_ready: true,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// Says in each call who makes it: what the client is called, and its token.
#[derive(Clone)]
pub struct Caller {
    name: MetadataValue<Ascii>,
    bearer: Option<MetadataValue<Ascii>>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        request.metadata_mut().insert("trunkline-client", self.name.clone());
        if let Some(token) = &self.bearer {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Returns what a client is called, as its calls say it.
fn client_name(options: &Options) -> Result<MetadataValue<Ascii>> {
    let said =
        options.client_name.clone().or_else(|| std::env::var("TRUNKLINE_CLIENT_NAME").ok().filter(|name| !name.is_empty()));
    let name = said.unwrap_or_else(|| format!("{}:{}", host_name(), std::process::id()));
    if name.is_empty() || name.chars().count() > MAX_CLIENT_NAME || name.chars().any(char::is_control) {
        let why = format!("client_name is {name:?}, it must be 1 to {MAX_CLIENT_NAME} characters that can be printed");
        return Err(Error::invalid("INVALID_MESSAGE", "client_name", &name, why));
    }
    let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC).to_string();
    Ok(MetadataValue::try_from(encoded).expect("percent-encoded text is ASCII"))
}

/// The host's name, only a default for people.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "rust".to_owned(), |name| name.trim().to_owned())
}

/// Connects to a service or a sidecar: `host:port`, `tls://host:port` (with the feature `tls`) or `unix:/path`.
pub async fn connect(address: &str) -> Result<Line> {
    connect_with(address, Options::default()).await
}

/// Connects as [`connect`] does, with options.
pub async fn connect_with(address: &str, options: Options) -> Result<Line> {
    let target = Target::new(address, options, Service::Bus)?;
    target.reach(|| target.dial()).await
}

/// Where a client connects to, as often as it takes.
#[derive(Debug)]
pub(crate) struct Target {
    address: String,
    options: Options,
    endpoint: Endpoint,
    caller: Caller,
    pub(crate) service: Service,
}

impl Target {
    pub(crate) fn new(address: &str, options: Options, service: Service) -> Result<Self> {
        let (endpoint, is_private) = endpoint(address, &options)?;
        let bearer = match &options.token {
            None => None,
            Some(_) if !is_private => {
                let why = "a token goes over TLS, a UNIX socket or loopback alone: write tls://host:port";
                return Err(no_tls(address, "tls_required", why));
            }
            Some(token) => Some(format!("Bearer {}", token.trim()).parse().map_err(|_| {
                Error::new(
                    "UNAUTHENTICATED",
                    Code::Unauthenticated,
                    "what is given is no token: it has other than printable ASCII",
                )
            })?),
        };
        let caller = Caller { name: client_name(&options)?, bearer };
        Ok(Self { address: address.to_owned(), options, endpoint, caller, service })
    }

    /// Makes a connection: a balancer may let it reach another replica than the last one.
    pub(crate) async fn dial(&self) -> Result<Line> {
        let channel = self.endpoint.connect().await.map_err(|error| {
            let why = chain(&error);
            match why_no_tls(&why).filter(|_| self.address.starts_with(TLS)) {
                Some(reason) => no_tls(&self.address, reason, &why),
                None => self.lost(&why),
            }
        })?;
        Ok(InterceptedService::new(channel, self.caller.clone()))
    }

    /// Does what is needed to connect, again and again where the service cannot be reached yet, or refuses it for now.
    pub(crate) async fn reach<T, A>(&self, open: impl Fn() -> A) -> Result<T>
    where
        A: Future<Output = Result<T>>,
    {
        again(self.options.connect_timeout, |left| self.reach_within(left, &open)).await
    }

    async fn reach_within<T, A>(&self, left: Duration, open: &impl Fn() -> A) -> Result<T>
    where
        A: Future<Output = Result<T>>,
    {
        let late = tokio::time::sleep(left);
        tokio::pin!(late);
        let mut lost = self.lost("it did not answer");
        loop {
            tokio::select! {
                biased;
                () = &mut late => {
                    lost.message = format!("{}, tried for {:?}", lost.message, self.options.connect_timeout);
                    return Err(lost);
                }
                opened = open() => match opened {
                    Err(error) if error.is_lost() => {
                        if self.speaks_tls().await {
                            let why = format!("it speaks TLS: write tls://{}", self.address);
                            return Err(no_tls(&self.address, "tls_required", &why));
                        }
                        if !self.options.wait_for_ready {
                            return Err(error);
                        }
                        lost = error;
                    }
                    opened => return opened,
                },
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    pub(crate) fn lost(&self, why: &str) -> Error {
        Error::new(self.service.lost(), Code::Unavailable, format!("{}: {why}", self.address))
    }

    /// Tells whether TLS is spoken where the address says none.
    #[cfg(feature = "tls")]
    async fn speaks_tls(&self) -> bool {
        if self.address.starts_with(TLS) || self.address.starts_with("unix:") {
            return false;
        }
        let Ok((endpoint, _)) = endpoint(&format!("{TLS}{}", self.address), &self.options) else { return false };
        match endpoint.connect().await {
            Ok(_) => true,
            Err(error) => why_no_tls(&chain(&error)).is_some_and(|reason| reason != "not_tls"),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn speaks_tls(&self) -> bool {
        false
    }
}

/// Returns why a handshake failed, where that was the reason, by the words of rustls.
fn why_no_tls(text: &str) -> Option<&'static str> {
    let words = [
        ("NotValidForName", "wrong_name"),
        ("certificate not valid for name", "wrong_name"),
        ("Expired", "expired"),
        ("certificate expired", "expired"),
        ("CertificateRequired", "certificate_required"),
        ("invalid peer certificate", "untrusted_authority"),
        ("corrupt message", "not_tls"),
        ("handshake eof", "not_tls"),
    ];
    words.iter().find(|(word, _)| text.contains(word)).map(|(_, reason)| *reason)
}

/// An error with what caused it: a transport's own text says little.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |each| each.source()).last().map_or_else(String::new, ToString::to_string)
}

fn no_tls(address: &str, reason: &str, message: &str) -> Error {
    let mut error = Error::new("TLS", Code::Unavailable, format!("no TLS with {address}: {message}"));
    error.metadata.insert("reason".to_owned(), reason.to_owned());
    error
}

/// Returns what is called at an address, and whether nobody else can listen on the way there.
fn endpoint(address: &str, options: &Options) -> Result<(Endpoint, bool)> {
    let wrong = |why: &str| Error::invalid("INVALID_ADDRESS", "address", address, format!("{address:?} is no address: {why}"));
    let (target, is_tls, is_private) = if let Some(path) = address.strip_prefix("unix:") {
        if path.is_empty() {
            return Err(wrong("a UNIX socket needs a path, such as unix:/run/trunkline/bus.sock"));
        }
        (format!("unix://{path}"), false, true)
    } else {
        let (at, is_tls) = address.strip_prefix(TLS).map_or((address, false), |at| (at, true));
        let Some((host, port)) = at.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains('/')) else {
            return Err(wrong(FORMS));
        };
        if !port.parse::<u16>().is_ok_and(|number| number > 0) {
            return Err(wrong("the port must be a number from 1 to 65535"));
        }
        let is_loopback = host == "localhost" || host == "[::1]" || host.starts_with("127.");
        (format!("{}://{at}", if is_tls { "https" } else { "http" }), is_tls, is_tls || is_loopback)
    };
    let endpoint = Endpoint::from_shared(target)
        .map_err(|error| wrong(&chain(&error)))?
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(MAX_FRAME_BYTES)
        .initial_connection_window_size(2 * MAX_FRAME_BYTES);
    Ok((secured(endpoint, address, is_tls, options)?, is_private))
}

#[cfg(feature = "tls")]
fn secured(endpoint: Endpoint, address: &str, is_tls: bool, options: &Options) -> Result<Endpoint> {
    if !is_tls {
        return match options.tls {
            None => Ok(endpoint),
            Some(_) => Err(no_tls(address, "tls_required", "`tls` is given, and it is called without: write tls://host:port")),
        };
    }
    let trusted = options.tls.clone().unwrap_or_else(|| tonic::transport::ClientTlsConfig::new().with_native_roots());
    endpoint.tls_config(trusted).map_err(|error| Error::new("TLS", Code::Unavailable, format!("{address}: {}", chain(&error))))
}

#[cfg(not(feature = "tls"))]
fn secured(endpoint: Endpoint, address: &str, is_tls: bool, _: &Options) -> Result<Endpoint> {
    if is_tls {
        return Err(Error::new("TLS", Code::Unavailable, format!("{address}: the crate is built without the feature `tls`")));
    }
    Ok(endpoint)
}

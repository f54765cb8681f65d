//! The HTTP client to the API server: kube's credentials and trust over connections of our own settings.

use std::time::Duration;

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{self, Kubeconfig};
use rustls_pki_types::ServerName;
use tower::{BoxError, ServiceExt};

use super::identity::{ConnectError, Identity};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that has been silent for this long is asked for a sign of life, and has so long to give it: one that has
/// died is noticed within 25 s. On HTTP/2 that is a PING, which is no request; on HTTP/1.1 TCP's own keep-alive.
const SILENCE: Duration = Duration::from_secs(15);
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// TCP's keep-alive probes, within `SIGN_OF_LIFE` together.
const PROBES: u32 = 2;

/// What the identity's files say now. Blocks on files, and on an exec plugin where a kubeconfig names one. To be called
/// within a runtime.
pub(super) fn load(identity: &Identity) -> Result<Config, ConnectError> {
    let mut config = match identity {
        Identity::Pod => Config::incluster().map_err(|error| ConnectError::of_pod(&error))?,
        Identity::Kubeconfig { file, context, as_user, as_groups } => {
            let options = config::KubeConfigOptions { context: context.clone(), ..Default::default() };
            // It reads files and waits for nothing: there is no asynchronous way that would.
            let loading = async {
                match file {
                    Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await,
                    None => Config::from_kubeconfig(&options).await,
                }
            };
            let mut config = tokio::runtime::Handle::current()
                .block_on(loading)
                .map_err(|error| ConnectError::of_kubeconfig(&error))?;
            if let Some(user) = as_user {
                config.auth_info.impersonate = Some(user.clone());
            }
            if !as_groups.is_empty() {
                config.auth_info.impersonate_groups = Some(as_groups.to_vec());
            }
            config
        }
    };
    // kube puts the environment's proxy here as well; only one that the kubeconfig names is worth an error.
    let named = config.proxy_url.take().filter(|proxy| !is_of_environment(proxy));
    if named.is_some() {
        return Err(ConnectError::new(
            "kubeconfig: `proxy-url` is not supported: reach the API server without a proxy",
        ));
    }
    let agent = HeaderValue::from_static(concat!("vestibule/", env!("CARGO_PKG_VERSION")));
    config.headers = vec![(USER_AGENT, agent), (ACCEPT, HeaderValue::from_static("application/json"))];
    Ok(config)
}

fn is_of_environment(proxy: &Uri) -> bool {
    let variables = ["HTTPS_PROXY", "https_proxy"].map(std::env::var);
    variables.into_iter().flatten().any(|value| value.parse().is_ok_and(|value: Uri| value == *proxy))
}

/// Connects to nothing yet. Blocks as [`load`] does.
pub(super) fn client(config: &Config) -> Result<kube::Client, ConnectError> {
    let failed = |error: kube::Error| ConnectError::of_client(&error);
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(SILENCE));
    tcp.set_keepalive_interval(Some(SIGN_OF_LIFE / (PROBES + 1)));
    tcp.set_keepalive_retries(Some(PROBES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(SILENCE + SIGN_OF_LIFE));

    let mut https =
        HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config().map_err(failed)?).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = ServerName::try_from(name.clone())
            .map_err(|_| ConnectError::new("kubeconfig: `tls-server-name` is no host name: correct it"))?;
        https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let https = https.enable_all_versions().wrap_connector(tcp);

    let client: Client<_, Body> = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        // The one connection that carries the watches is always in use.
        .pool_idle_timeout(None)
        .pool_max_idle_per_host(1)
        .http2_keep_alive_interval(SILENCE)
        .http2_keep_alive_timeout(SIGN_OF_LIFE)
        .http2_keep_alive_while_idle(true)
        .build(https);
    let client = client.map_err(BoxError::from);

    let base = config.base_uri_layer();
    let headers = config.extra_headers_layer().map_err(failed)?;
    Ok(match config.auth_layer().map_err(failed)? {
        Some(auth) => ClientBuilder::new(client, "").with_layer(&headers).with_layer(&auth).with_layer(&base).build(),
        None => ClientBuilder::new(client, "").with_layer(&headers).with_layer(&base).build(),
    })
}

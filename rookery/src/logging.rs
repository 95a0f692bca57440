//! Where log lines go: standard error, as `ROOKERY_LOG` says.

/// Starts logging; `level` holds where `ROOKERY_LOG` says nothing.
pub fn start(level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ROOKERY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

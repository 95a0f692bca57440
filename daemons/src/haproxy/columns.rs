//! The columns of HAProxy's table that are drawn, and what they mean
//! (management.txt, 9.1).

use rookery_plugins::{Draw, FieldSpec};

/// What is drawn of each row.
pub struct Column {
    /// As the table calls it, and the end of the field's name: `be_scur`.
    pub name: &'static str,
    /// What the legend says behind the name of the row; empty: nothing.
    pub label: &'static str,
    /// The rest of the field.
    pub describe: fn(&str, &str) -> FieldSpec,
}

/// Waiting requests.
pub const QCUR: Column = Column {
    name: "qcur",
    label: "",
    describe: |n, l| FieldSpec::gauge(n, l).info("Requests that wait now"),
};
/// The longest queue.
pub const QMAX: Column = Column {
    name: "qmax",
    label: "longest",
    describe: |n, l| FieldSpec::gauge(n, l).info("The longest queue since HAProxy's start"),
};
/// Sessions.
pub const SCUR: Column = Column {
    name: "scur",
    label: "",
    describe: |n, l| FieldSpec::gauge(n, l).draw(Draw::AreaStack).info("Sessions now"),
};
/// The most sessions at once.
pub const SMAX: Column = Column {
    name: "smax",
    label: "most",
    describe: |n, l| FieldSpec::gauge(n, l).info("The most at once since HAProxy's start"),
};
/// New sessions.
pub const STOT: Column = Column {
    name: "stot",
    label: "",
    describe: |n, l| FieldSpec::derive(n, l).draw(Draw::AreaStack).info("Sessions that began"),
};
/// Failed connections to servers.
pub const ECON: Column = Column {
    name: "econ",
    label: "connection failed",
    describe: |n, l| FieldSpec::derive(n, l).info("Requests that no connection could be made for"),
};
/// Broken responses of servers.
pub const ERESP: Column = Column {
    name: "eresp",
    label: "response broken",
    describe: |n, l| FieldSpec::derive(n, l).info("Responses that were broken off or senseless"),
};
/// Response times, in milliseconds.
pub const RTIME: Column = Column {
    name: "rtime",
    label: "",
    describe: |n, l| FieldSpec::gauge(n, l).info("Mean of the last 1024 requests, milliseconds"),
};
/// HTTP requests.
pub const REQ_TOT: Column = Column {
    name: "req_tot",
    label: "",
    describe: |n, l| FieldSpec::derive(n, l).draw(Draw::AreaStack).info("Requests of clients"),
};
/// Broken requests.
pub const EREQ: Column = Column {
    name: "ereq",
    label: "broken",
    describe: |n, l| FieldSpec::derive(n, l).info("Requests that made no sense or broke off"),
};
/// Denied requests.
pub const DREQ: Column = Column {
    name: "dreq",
    label: "denied",
    describe: |n, l| FieldSpec::derive(n, l).info("Requests that a rule denied"),
};
/// Bytes from clients.
pub const BIN: Column = Column {
    name: "bin",
    label: "in",
    describe: |n, l| FieldSpec::derive(n, l).hidden().info("Bytes that came from clients"),
};
/// Bytes to clients.
pub const BOUT: Column = Column {
    name: "bout",
    label: "",
    describe: |n, l| {
        let stem = n.strip_suffix("bout").unwrap_or(n);
        FieldSpec::derive(n, l)
            .draw(Draw::AreaStack)
            .negative(&format!("{stem}bin"))
            .info("Bytes that went to clients")
    },
};

/// Column, label and meaning.
pub type Kind = (&'static str, &'static str, &'static str);

/// Responses by status, the good ones first.
pub const RESPONSES: [Kind; 6] = [
    ("hrsp_2xx", "2xx", "Served"),
    ("hrsp_3xx", "3xx", "Redirected, or not changed"),
    ("hrsp_4xx", "4xx", "The client's mistake"),
    ("hrsp_5xx", "5xx", "Failed: by the server, or by HAProxy for want of one"),
    ("hrsp_1xx", "1xx", "Another protocol, or go on"),
    ("hrsp_other", "other", "Without a status that is known"),
];

/// What did not go as planned.
pub const RETRIES: [Kind; 6] = [
    ("wretr", "retries", "Times that a connection to a server was tried again"),
    ("wredis", "redispatches", "Requests that went to another server than was planned"),
    ("cli_abrt", "client left", "Transfers that the client broke off"),
    ("srv_abrt", "server left", "Transfers that the server broke off"),
    ("dresp", "denied", "Responses that a rule denied"),
    ("chkdown", "went down", "Times that the backend lost its last server"),
];

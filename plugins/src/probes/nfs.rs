//! NFS, as client and as server, from `/proc/net/rpc/nfs` and `nfsd`
//! (net/sunrpc/stats.c, fs/nfsd/stats.c). `nfs_client` and `nfsd` have the fields
//! of Munin's plugins: the procedures of version 3 (RFC 1813). The procedures of
//! version 4 change with the kernel, and are counted together.

use super::support::{no_settings, number};
use crate::host::HotFile;
use crate::one_pass::{OnePass, probe};
use crate::sheet::Sheet;
use crate::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "nfs",
    about: "NFS calls, retransmissions, bytes, as client and server (/proc/net/rpc)",
    waits: false,
    new: |config| no_settings(config).map(|()| probe(Nfs::default())),
};

/// RFC 1813's procedures 1 to 21, behind the one that does nothing.
const PROCEDURES: [&str; 21] = [
    "getattr",
    "setattr",
    "lookup",
    "access",
    "readlink",
    "read",
    "write",
    "create",
    "mkdir",
    "symlink",
    "mknod",
    "remove",
    "rmdir",
    "rename",
    "link",
    "readdir",
    "readdirplus",
    "fsstat",
    "fsinfo",
    "pathconf",
    "commit",
];

#[derive(Debug, Default)]
struct Nfs {
    files: Option<[HotFile; 2]>,
}

impl OnePass for Nfs {
    fn ask(&mut self, host: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let [client, server] = self
            .files
            .get_or_insert_with(|| ["nfs", "nfsd"].map(|f| host.hot_proc(format!("net/rpc/{f}"))));
        let client = Counts::of(client)?;
        let server = Counts::of(server)?;
        if client.is_none() && server.is_none() {
            return Err(ProbeError::NotHere("/proc/net/rpc: neither nfs nor nfsd".to_owned()));
        }
        if let Some(client) = client {
            write_client(&client, sheet);
        }
        if let Some(server) = server {
            write_server(&server, sheet);
        }
        Ok(())
    }
}

/// The lines of such a file, by their first word.
struct Counts {
    text: String,
}

impl Counts {
    /// `None`: NFS is not used in this way. A file that is there for a kernel
    /// module that nobody uses has no calls.
    fn of(file: &mut HotFile) -> Result<Option<Counts>, ProbeError> {
        let text = match file.text() {
            Ok(text) => String::from_utf8_lossy(text).into_owned(),
            Err(ProbeError::NotHere(_)) => return Ok(None),
            Err(e) => return Err(e),
        };
        let counts = Counts { text };
        match counts.number("rpc", 0) {
            None => Err(file.malformed("has no line \"rpc N …\"")),
            Some(0) => Ok(None),
            Some(_) => Ok(Some(counts)),
        }
    }

    fn line(&self, name: &str) -> Option<impl Iterator<Item = &str>> {
        let words = |l: &'_ str| l.split_whitespace().next() == Some(name);
        self.text.lines().find(|l| words(l)).map(|l| l.split_whitespace().skip(1))
    }

    fn number(&self, name: &str, at: usize) -> Option<u64> {
        number(self.line(name)?.nth(at)?.as_bytes())
    }

    /// The sum of all of `proc4`'s procedures but the one that does nothing.
    fn version4(&self, name: &str) -> Option<u64> {
        let all = self.line(name)?.skip(2).filter_map(|w| number(w.as_bytes()));
        Some(all.fold(0, u64::wrapping_add))
    }
}

fn procedures(service: &str, title: &str, counts: &Counts, sheet: &mut Sheet<'_>) {
    if counts.line("proc3").is_none() {
        return;
    }
    let mut service = sheet.service(service, |n| {
        ServiceSpec::new(n, title, "nfs")
            .vlabel("calls per ${graph_period}")
            .args("-l 0 --base 1000")
            .info("Calls of NFS version 3, by what they ask for.")
    });
    for (i, name) in PROCEDURES.into_iter().enumerate() {
        // Behind the number of procedures and the null procedure.
        service.field(name, counts.number("proc3", i + 2), |n| {
            FieldSpec::derive(n, n).draw(Draw::AreaStack).info("Calls of this procedure")
        });
    }
}

fn write_client(counts: &Counts, sheet: &mut Sheet<'_>) {
    procedures("nfs_client", "NFS client", counts, sheet);
    sheet
        .service("nfs_client_rpc", |n| {
            ServiceSpec::new(n, "NFS client calls", "nfs")
                .vlabel("calls per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Calls to NFS servers. Retransmissions mean a server or network that lags.")
        })
        .field("calls", counts.number("rpc", 0), |n| {
            FieldSpec::derive(n, "calls").draw(Draw::Area).info("All calls")
        })
        .field("version4", counts.version4("proc4"), |n| {
            FieldSpec::derive(n, "operations of version 4").info("Several may share a call")
        })
        .field("retransmissions", counts.number("rpc", 1), |n| {
            FieldSpec::derive(n, "sent again").info("No answer came in time")
        });
}

fn write_server(counts: &Counts, sheet: &mut Sheet<'_>) {
    procedures("nfsd", "NFS server", counts, sheet);
    sheet
        .service("nfsd_rpc", |n| {
            ServiceSpec::new(n, "NFS server calls", "nfs")
                .vlabel("calls per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Calls of NFS clients.")
        })
        .field("calls", counts.number("rpc", 0), |n| {
            FieldSpec::derive(n, "calls").draw(Draw::Area).info("All calls")
        })
        .field("badcalls", counts.number("rpc", 1), |n| {
            FieldSpec::derive(n, "refused").info("Malformed, or from who may not")
        });
    sheet
        .service("nfsd_bytes", |n| {
            ServiceSpec::new(n, "NFS server traffic", "nfs")
                .vlabel("bytes read (-) / written (+) per ${graph_period}")
                .args("--base 1024")
                .info("What clients read and write.")
        })
        .field("read", counts.number("io", 0), |n| {
            FieldSpec::derive(n, "read").hidden().info("Bytes that clients read")
        })
        .field("written", counts.number("io", 1), |n| {
            FieldSpec::derive(n, "bytes").negative("read").info("Bytes that clients wrote")
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{TestHost, fixture, lookup, make, ready, values};

    #[test]
    fn client_and_server_are_read() {
        let host = fixture("health");
        let (mut probe, services) = ready("nfs", "", &host);
        let cells = values(probe.as_mut(), &host).unwrap();
        let of = |s: &str, f: &str| lookup(&services, &cells, s, f);
        for (service, field, want) in [
            ("nfs_client", "getattr", 900),
            ("nfs_client", "read", 1500),
            ("nfs_client", "commit", 400),
            ("nfs_client_rpc", "retransmissions", 12),
            ("nfs_client_rpc", "version4", 199),
            ("nfsd", "write", 800),
            ("nfsd_rpc", "badcalls", 3),
            ("nfsd_bytes", "written", 987_654_321),
        ] {
            assert_eq!(of(service, field), Value::Int(want), "{service}.{field}");
        }
    }

    #[test]
    fn an_idle_module_is_not_here_and_noise_is_an_error() {
        let host = TestHost::new(&[("proc/net/rpc/nfs", "net 0 0 0 0\nrpc 0 0 0\n")]);
        let asked = make("nfs", "").discover(&host.host);
        assert!(matches!(asked, Err(ProbeError::NotHere(_))));
        host.write("proc/net/rpc/nfs", "rpc much\n");
        assert!(matches!(make("nfs", "").discover(&host.host), Err(ProbeError::Failed(_))));
    }
}

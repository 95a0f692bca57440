//! Debian's Icinga 2: it takes the definitions, and results by its API.

use crate::passive::{agent, collector, site_with_level};
use crate::support::{Answer, Proc, Site, bin, free_port, http, run, stdout, wait_for};
use serde_json::Value as Json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn openssl(args: &[&str], dir: &Path) {
    let done = run(Command::new("openssl").args(args).current_dir(dir));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// An Icinga with a certificate for localhost, signed by a CA of its own; the command
/// that runs it, but for the last words.
fn icinga(site: &Site, objects: &Path, port: u16) -> Vec<String> {
    let dir = site.path("icinga");
    for sub in ["data/certs", "data/ca", "log", "cache", "run"] {
        std::fs::create_dir_all(dir.join(sub)).expect("a folder");
    }
    let text = format!(
        "const NodeName = \"localhost\"\nconst ZoneName = \"localhost\"\ninclude <itl>\n\
         object Endpoint NodeName {{ }}\nobject Zone ZoneName {{ endpoints = [ NodeName ] }}\n\
         object ApiListener \"api\" {{\n  bind_host = \"127.0.0.1\"\n  bind_port = {port}\n}}\n\
         object ApiUser \"rookery\" {{\n  password = \"se cret\"\n  permissions = \
         [ \"actions/process-check-result\", \"objects/query/*\" ]\n}}\n\
         object CheckerComponent \"checker\" {{ }}\nobject NotificationComponent \"n\" {{ }}\n\
         include {objects:?}\n"
    );
    std::fs::write(dir.join("icinga2.conf"), text).expect("writes");
    std::fs::write(dir.join("ext"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .expect("writes");
    if !dir.join("data/ca/ca.crt").exists() {
        openssl(
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-keyout",
                "data/ca/ca.key",
                "-out",
                "data/ca/ca.crt",
                "-days",
                "900",
                "-subj",
                "/CN=Icinga CA",
            ],
            &dir,
        );
        openssl(
            &[
                "req",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-keyout",
                "data/certs/localhost.key",
                "-out",
                "csr",
                "-subj",
                "/CN=localhost",
            ],
            &dir,
        );
        openssl(
            &[
                "x509",
                "-req",
                "-in",
                "csr",
                "-CA",
                "data/ca/ca.crt",
                "-CAkey",
                "data/ca/ca.key",
                "-CAcreateserial",
                "-days",
                "800",
                "-extfile",
                "ext",
                "-out",
                "data/certs/localhost.crt",
            ],
            &dir,
        );
        std::fs::copy(dir.join("data/ca/ca.crt"), dir.join("data/certs/ca.crt")).expect("copies");
    }
    let mut words = vec!["daemon".to_owned(), "-c".to_owned()];
    words.push(dir.join("icinga2.conf").display().to_string());
    for (key, sub) in
        [("DataDir", "data"), ("LogDir", "log"), ("CacheDir", "cache"), ("InitRunDir", "run")]
    {
        words.push(format!("-DConfiguration.{key}={}", dir.join(sub).display()));
    }
    words
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new("/usr/sbin/icinga2");
    command.args(words).env("ICINGA2_USER", "root").env("ICINGA2_GROUP", "root");
    command
}

/// `icinga2 daemon -C` is content, and has so many services.
fn check(words: &[String]) -> String {
    let done = run(command(words).arg("-C"));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{text}");
    assert!(!text.contains("warning"), "{text}");
    text
}

fn objects(site: &Site, more: &[&str]) -> std::path::PathBuf {
    let file = site.path("rookery.conf");
    stdout(
        Command::new(bin("rookery"))
            .args(["nagios-config", "--icinga", "--url", &site.url(), "--check"])
            .arg(bin("check_rookery"))
            .args(more)
            .arg("-o")
            .arg(&file),
    );
    file
}

/// What the API says of a service, or of the host.
fn asked(port: u16, ca: &Path, service: Option<&str>) -> Option<Json> {
    let pem = std::fs::read(ca).expect("reads");
    let path = match service {
        Some(service) => format!("services/farm_n1!{service}"),
        None => "hosts/farm_n1".to_owned(),
    };
    let url = format!("https://localhost:{port}/v1/objects/{path}");
    let answer: Answer = http(|_| {
        let pem = reqwest::Certificate::from_pem(&pem).expect("a certificate");
        let client = reqwest::Client::builder().no_proxy().tls_certs_merge([pem]);
        client.build().expect("a client").get(&url).basic_auth("rookery", Some("se cret"))
    })?;
    (answer.status == 200).then(|| answer.json()["results"][0]["attrs"].clone())
}

#[test]
fn icinga_2_takes_the_definitions_and_follows_by_its_api() {
    let (site, set) = site_with_level();
    std::fs::create_dir(site.path("alerts.d")).expect("a folder");
    let rule = "[[dependency]]\ngroup = \"farm\"\nservice = \"level\"\non = \"farm;n1/load\"\n";
    std::fs::write(site.path("alerts.d/on.toml"), rule).expect("writes");
    let port = free_port();
    let (secret, ca) = (site.path("secret"), site.path("icinga/data/ca/ca.crt"));
    std::fs::write(&secret, "se cret\n").expect("writes");
    // Icinga makes its CA here; the collector wants it at its start.
    let words = icinga(&site, &site.path("rookery.conf"), port);
    let passive = format!(
        "kind = \"icinga2\"\nurl = \"https://localhost:{port}\"\nuser = \"rookery\"\n\
         secret_file = {secret:?}\nca = {ca:?}"
    );
    let collector = collector(&site, &passive);
    let agent = agent(&site);
    // The active ones: its checks run the plugin.
    objects(&site, &[]);
    let text = check(&words);
    let made = std::fs::read_to_string(site.path("rookery.conf")).expect("reads");
    assert!(made.contains("parent_service_name = \"load\"\n  states = [ OK, Warning ]"), "{made}");
    assert!(text.contains("Instantiated 2 Hosts") && text.contains("1 HostGroup"), "{text}");
    objects(&site, &["--passive", "--refresh", "2s"]);
    check(&words);
    let icinga = Proc::start(&mut command(&words));
    let state = |service: Option<&str>, want: u64| {
        wait_for(&format!("{service:?} in state {want}"), LIMIT, || {
            let attrs = asked(port, &ca, service)?;
            let checked = attrs["last_check_result"]["check_source"] == "rookery";
            (attrs["state"] == want as f64 && checked).then_some(attrs)
        })
    };
    let level = state(Some("level"), 0);
    let result = &level["last_check_result"];
    assert_eq!(result["performance_data"][0], "'level'=50;;~:90", "{result}");
    assert_eq!(result["output"], "LEVEL OK - level 50", "{result}");
    assert_eq!(result["ttl"], 6.0, "{result}");
    state(None, 0);
    set("95");
    let level = state(Some("level"), 2);
    assert_eq!(level["state_type"], 1.0, "{level}");
    collector.stop();
    // Nothing comes: its own check says so, and the collector alone is told of.
    let stale = wait_for("a stale service", LIMIT, || {
        let attrs = asked(port, &ca, Some("level"))?;
        (attrs["state"] == 3.0).then_some(attrs)
    });
    assert_eq!(stale["last_check_result"]["output"], "No result from Rookery for so long.");
    assert_eq!(asked(port, &ca, None).expect("a host")["state"], 0.0);
    icinga.signal(rustix::process::Signal::TERM);
    agent.kill9();
}

/// What the package ships, with services that use it.
#[test]
fn icinga_2_takes_the_packaged_commands() {
    let site = Site::new();
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/check/icinga2.conf");
    let packaged = packaged.canonicalize().expect("it is there");
    let objects = site.path("mine.conf");
    let text = format!(
        "const PluginDir = {:?}\ninclude {packaged:?}\n\
         object Host \"farm;n1\" {{\n  check_command = \"rookery\"\n  address = \"127.0.0.1\"\n}}\n\
         object Service \"cpu\" {{\n  host_name = \"farm;n1\"\n  check_command = \"rookery\"\n  \
         vars.rookery_service = \"cpu\"\n  vars.rookery_field = [ \"user\", \"system\" ]\n}}\n\
         object Service \"load\" {{\n  host_name = \"farm;n1\"\n  \
         check_command = \"rookery_direct\"\n  vars.rookery_service = \"load\"\n}}\n",
        bin("check_rookery").parent().expect("a folder")
    );
    std::fs::write(&objects, text).expect("writes");
    let text = check(&icinga(&site, &objects, free_port()));
    assert!(text.contains("Instantiated 2 Services"), "{text}");
}

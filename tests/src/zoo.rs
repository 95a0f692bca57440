//! One of each daemon that there is a probe for, from Debian, on loopback in a
//! temporary folder, under a steady load: to look at, and to measure beside.
//!
//! As root, with what `tests/install` installs.

mod load;
mod proxies;
mod stores;

use rustix::process::{Pid, Signal, kill_process};
use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What goes wrong here ends the program.
pub type Res<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The longest wait for a daemon's start.
const START_MAX: Duration = Duration::from_secs(60);
/// The longest wait for its end.
const END_MAX: Duration = Duration::from_secs(8);
/// A pause of the load between two rounds.
const ROUND: Duration = Duration::from_millis(100);

/// The probes of all of it.
pub const PROBES: [&str; 13] = [
    "access_log",
    "apache",
    "beanstalkd",
    "gearman",
    "haproxy",
    "memcached",
    "mysql",
    "nginx",
    "perlbal",
    "postgres",
    "redis",
    "squid",
    "varnish",
];

/// Where each daemon listens; all of them on loopback.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Apache; its status page is `/server-status?auto`.
    pub apache: u16,
    /// beanstalkd.
    pub beanstalkd: u16,
    /// gearmand.
    pub gearman: u16,
    /// HAProxy, before nginx and Apache.
    pub haproxy: u16,
    /// HAProxy's statistics page: `/;csv`.
    pub haproxy_page: u16,
    /// memcached.
    pub memcached: u16,
    /// MariaDB; root logs in over its socket.
    pub mysql: u16,
    /// nginx, the origin of all proxies; its status page is `/nginx_status`.
    pub nginx: u16,
    /// Perlbal before nginx.
    pub perlbal: u16,
    /// Its management service.
    pub perlbal_management: u16,
    /// PostgreSQL, which trusts everybody.
    pub postgres: u16,
    /// Redis.
    pub redis: u16,
    /// A replica of it.
    pub replica: u16,
    /// Squid.
    pub squid: u16,
    /// Varnish before nginx.
    pub varnish: u16,
    /// Nobody.
    pub closed: u16,
}

/// All of them; dropped, they end.
pub struct Zoo {
    /// Their folder.
    pub dir: tempfile::TempDir,
    /// Where they are.
    pub ports: Ports,
    children: Vec<(String, Signal, Child)>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Zoo {
    /// Starts all daemons, and waits until they answer.
    pub fn start() -> Res<Zoo> {
        let dir = tempfile::tempdir()?;
        // Some of them run as others.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755))?;
        let (stop, clients) = (Arc::default(), vec![]);
        let mut zoo = Zoo { dir, ports: Ports::free()?, children: vec![], stop, clients };
        stores::start(&mut zoo)?;
        proxies::start(&mut zoo)?;
        Ok(zoo)
    }

    /// A file or folder of theirs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text, for their configurations.
    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn folder(&self, name: &str) -> Res<String> {
        std::fs::create_dir(self.path(name))?;
        Ok(self.text(name))
    }

    fn file(&self, name: &str, text: &str) -> Res<String> {
        std::fs::write(self.path(name), text)?;
        Ok(self.text(name))
    }

    /// Starts a daemon that stays in the foreground, and waits for its port. It
    /// ends at this signal.
    fn daemon(&mut self, name: &str, end: Signal, command: &mut Command, port: u16) -> Res<()> {
        let log = std::fs::File::create(self.path(&format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        self.children.push((name.to_owned(), end, child));
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let gone =
                self.children.last_mut().is_some_and(|c| !matches!(c.2.try_wait(), Ok(None)));
            if gone || since.elapsed() > START_MAX {
                let log = std::fs::read_to_string(self.path(&format!("{name}.log")))?;
                return Err(format!("{command:?} does not start: {log}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Starts the load, which goes on until the end.
    pub fn drive(&mut self) -> Res<()> {
        for one in load::all(self)? {
            let stop = self.stop.clone();
            self.clients.push(std::thread::spawn(move || {
                if let Err(error) = go_on(one, &stop) {
                    eprintln!("a client gave up: {error}");
                }
            }));
        }
        Ok(())
    }

    /// The probes' part of an agent's configuration.
    pub fn agent_config(&self) -> String {
        let p = self.ports;
        let mut text = String::new();
        for (probe, port) in [
            ("beanstalkd", p.beanstalkd),
            ("gearman", p.gearman),
            ("memcached", p.memcached),
            ("perlbal", p.perlbal_management),
            ("postgres", p.postgres),
            ("redis", p.redis),
            ("squid", p.squid),
        ] {
            text += &format!("[probe.{probe}]\naddress = \"127.0.0.1:{port}\"\n");
        }
        text += &format!(
            "[[probe.redis.server]]\nname = \"replica\"\naddress = \"127.0.0.1:{}\"\n\
             [probe.mysql]\naddress = {:?}\n[probe.haproxy]\naddress = {:?}\n\
             [probe.nginx]\nurl = \"http://127.0.0.1:{}/nginx_status\"\n\
             [probe.apache]\nurl = \"http://127.0.0.1:{}/server-status?auto\"\n\
             [probe.varnish]\ninstance = {:?}\n\
             [probe.access_log]\nfiles = [{:?}]\n[probe.access_log.paths]\napi = \"/api/*\"\n",
            p.replica,
            self.path("mysql/socket"),
            self.path("haproxy.sock"),
            p.nginx,
            p.apache,
            self.path("varnish"),
            self.path("nginx/access.log"),
        );
        text
    }
}

impl Drop for Zoo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            // Whatever went wrong has been told.
            let _ = client.join();
        }
        for (_, signal, child) in &self.children {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_child(child), *signal);
        }
        let since = Instant::now();
        for (_, _, child) in &mut self.children {
            while matches!(child.try_wait(), Ok(None)) && since.elapsed() < END_MAX {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ports {
    /// Ports that nobody has.
    fn free() -> Res<Ports> {
        // All are held until the last one is known: none is given twice.
        let mut held = vec![];
        let mut free = || -> Res<u16> {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        Ok(Ports {
            apache: free()?,
            beanstalkd: free()?,
            gearman: free()?,
            haproxy: free()?,
            haproxy_page: free()?,
            memcached: free()?,
            mysql: free()?,
            nginx: free()?,
            perlbal: free()?,
            perlbal_management: free()?,
            postgres: free()?,
            redis: free()?,
            replica: free()?,
            squid: free()?,
            varnish: free()?,
            closed: free()?,
        })
    }
}

/// Rounds of a load: how many steps this one has, for a few calm and a few busy
/// minutes, and its number.
type Client = Box<dyn FnMut(u64, u64) -> Res<()> + Send>;

fn go_on(mut client: Client, stop: &AtomicBool) -> Res<()> {
    let since = Instant::now();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let wave = (since.elapsed().as_secs_f64() / 20.0).sin();
        client((6.0 + 4.0 * wave) as u64, n)?;
        n += 1;
        std::thread::sleep(ROUND);
    }
    Ok(())
}

/// Runs a program to its end, which must be a good one.
fn run(command: &mut Command) -> Res<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {said}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program that was built beside this example.
pub fn built(name: &str) -> Res<PathBuf> {
    let exe = std::env::current_exe()?;
    let path = exe.parent().and_then(Path::parent).map(|dir| dir.join(name));
    let path = path.filter(|p| p.exists());
    path.ok_or_else(|| format!("{name} is not built: cargo build --workspace").into())
}

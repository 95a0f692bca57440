//! A steady mixed load: ten rounds a second, more steps in each at some times
//! than at others.

use super::stores::{mariadb_client, psql};
use super::{Client, Res, Zoo, run};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One that hangs for longer is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// All clients.
pub fn all(zoo: &mut Zoo) -> Res<Vec<Client>> {
    let p = zoo.ports;
    let origin = format!("http://127.0.0.1:{}", p.nginx);
    let mut all = vec![
        memcached(p.memcached)?,
        redis(p.redis)?,
        beanstalkd(p.beanstalkd)?,
        gearman(zoo)?,
        web(p.nginx, ""),
        web(p.haproxy, ""),
        web(p.varnish, ""),
        web(p.perlbal, ""),
        web(p.squid, &origin),
        pages(p.apache),
        Box::new(move |_, n| get(p.haproxy, &format!("/img/{n}")).map(drop)),
    ];
    // Some that are at it at the same time: without them nobody waits.
    for port in [p.haproxy, p.haproxy, p.haproxy, p.haproxy, p.apache, p.perlbal, p.varnish] {
        all.push(Box::new(move |_, _| get(port, "/slow").map(drop)));
    }
    for (command, statements) in [
        (mariadb_client(zoo), mysql_statements as fn(u64, u64) -> String),
        (mariadb_client(zoo), mysql_locks),
        (psql(zoo), postgres_statements),
        (psql(zoo), postgres_locks),
        (psql(zoo), postgres_locks),
    ] {
        all.push(sql(command, statements)?);
    }
    Ok(all)
}

/// Numbers that look like chance and are the same each time.
fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ (n >> 29)
}

/// A connection on which lines are said and read.
struct Talk {
    to: TcpStream,
    from: BufReader<TcpStream>,
}

impl Talk {
    fn new(port: u16) -> Res<Talk> {
        let to = TcpStream::connect(("127.0.0.1", port))?;
        to.set_read_timeout(Some(PATIENCE))?;
        to.set_nodelay(true)?;
        let from = BufReader::new(to.try_clone()?);
        Ok(Talk { to, from })
    }

    fn line(&mut self) -> Res<String> {
        let mut line = String::new();
        match self.from.read_line(&mut line)? {
            0 => Err("it hung up".into()),
            _ => Ok(line),
        }
    }

    /// The first line of the answer.
    fn say(&mut self, text: &str) -> Res<String> {
        self.to.write_all(text.as_bytes())?;
        self.line()
    }
}

fn memcached(port: u16) -> Res<Client> {
    let mut talk = Talk::new(port)?;
    Ok(Box::new(move |steps, n| {
        for i in 0..steps * 4 {
            let key = mixed(n * 97 + i) % 12_000;
            if i % 4 == 0 {
                let body = "x".repeat(200 + (key % 5 * 400) as usize);
                talk.say(&format!("set k{key} 0 0 {}\r\n{body}\r\n", body.len()))?;
                continue;
            }
            let mut line = talk.say(&format!("get k{}\r\n", key % 9_000))?;
            while line != "END\r\n" {
                line = talk.line()?;
            }
        }
        talk.say(&format!("delete k{}\r\n", mixed(n) % 9_000))?;
        Ok(())
    }))
}

fn redis(port: u16) -> Res<Client> {
    let mut talk = Talk::new(port)?;
    Ok(Box::new(move |steps, n| {
        for i in 0..steps * 4 {
            let key = mixed(n * 89 + i) % 5_000;
            if i % 4 == 0 {
                talk.say(&format!("SET k{key} {} EX {}\r\n", "x".repeat(300), 20 + key % 100))?;
            } else {
                // A string's length comes first, -1 for none.
                let line = talk.say(&format!("GET k{}\r\n", key % 4_000))?;
                if !line.starts_with("$-1") {
                    talk.line()?;
                }
            }
        }
        Ok(())
    }))
}

fn beanstalkd(port: u16) -> Res<Client> {
    let mut talk = Talk::new(port)?;
    for tube in ["mail", "thumbs"] {
        talk.say(&format!("watch {tube}\r\n"))?;
    }
    Ok(Box::new(move |steps, n| {
        talk.say(&format!("use {}\r\n", ["mail", "thumbs"][n as usize % 2]))?;
        for i in 0..steps {
            let delay = if i % 5 == 0 { 3 } else { 0 };
            talk.say(&format!("put 1024 {delay} 60 5\r\nhello\r\n"))?;
        }
        // Not always as many as come.
        for i in 0..steps + n / 50 % 3 - 1 {
            let line = talk.say("reserve-with-timeout 0\r\n")?;
            let Some(id) = line.split(' ').nth(1).filter(|_| line.starts_with("RESERVED")) else {
                break;
            };
            let id = id.to_owned();
            talk.line()?;
            let bury = mixed(n * 31 + i).is_multiple_of(500);
            let done = if bury { format!("bury {id} 1\r\n") } else { format!("delete {id}\r\n") };
            talk.say(&done)?;
        }
        Ok(())
    }))
}

/// Ends a helper of a client with it.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn gearman(zoo: &Zoo) -> Res<Client> {
    let port = zoo.ports.gearman.to_string();
    let tool = move || {
        let mut command = Command::new("gearman");
        command.args(["-h", "127.0.0.1", "-p", &port]).stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let mut workers = vec![];
    for function in ["mail", "resize"] {
        let mut command = tool();
        command.args(["-w", "-f", function, "--", "sh", "-c", "cat >/dev/null; sleep 0.3"]);
        workers.push(Helper(command.spawn()?));
    }
    Ok(Box::new(move |steps, n| {
        let _ = &workers;
        if n % 5 == 0 {
            for function in ["mail", "resize"].iter().take(if steps > 6 { 2 } else { 1 }) {
                run(tool().args(["-b", "-f", function, "payload"]))?;
            }
        }
        // Nobody can do these.
        if n == 300 {
            run(tool().args(["-b", "-f", "forgotten", "payload"]))?;
        }
        Ok(())
    }))
}

/// GET; the status.
fn get(port: u16, target: &str) -> Res<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut reply = vec![];
    stream.read_to_end(&mut reply)?;
    let text = String::from_utf8_lossy(&reply);
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    Ok(status.ok_or_else(|| format!("GET {target} on port {port}: no status"))?)
}

/// What visitors ask for; `before` is put in front of each path.
fn web(port: u16, before: &str) -> Client {
    let before = before.to_owned();
    Box::new(move |steps, n| {
        for i in 0..steps {
            let chance = mixed(n * 73 + i);
            let path = match chance % 40 {
                0 => "/broken".to_owned(),
                1 => "/gone".to_owned(),
                2 | 3 => "/old".to_owned(),
                4 if n % 10 == 0 => "/lost".to_owned(),
                5..10 => format!("/api/{}", chance % 7),
                // More than Varnish has room for.
                10..35 => format!("/c/{}", chance / 40 % 60 * (chance / 2_400 % 60)),
                _ => "/".to_owned(),
            };
            get(port, &format!("{before}{path}"))?;
        }
        Ok(())
    })
}

fn pages(port: u16) -> Client {
    Box::new(move |steps, _| (0..steps).try_for_each(|_| get(port, "/page").map(drop)))
}

fn sql(mut command: Command, statements: fn(u64, u64) -> String) -> Res<Client> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut to = child.stdin.take().ok_or("no pipe")?;
    let child = Helper(child);
    Ok(Box::new(move |steps, n| {
        let _ = &child;
        to.write_all(statements(steps, n).as_bytes())?;
        Ok(to.flush()?)
    }))
}

fn mysql_statements(steps: u64, n: u64) -> String {
    let mut text = String::from("use t;\n");
    for i in 0..steps {
        let id = 1 + mixed(n * 83 + i) % 20_000;
        // Nobody changes this one: the query cache is of use.
        text += &format!("select v from c where id = {};\n", 1 + id % 400);
        text += &format!("select v from a where id = {id};\n");
        if i % 2 == 0 {
            text += &format!("insert into a(v, n) values ('new', {id});\n");
        }
        if i % 3 == 0 {
            text += &format!("update a set n = n + 1 where id = {id};\n");
        }
    }
    text += "delete from a where id > 20000 limit 2;\nreplace into m values (1);\n";
    if n.is_multiple_of(20) {
        text += "select count(*), v from a group by v, n order by n desc limit 3;\n";
    }
    text
}

/// A transaction that is open for a moment.
fn mysql_locks(_: u64, n: u64) -> String {
    match n % 10 {
        0 => {
            "use t; begin; update a set n = 0 where id <= 20; select sleep(0.2); rollback;\n".into()
        }
        5 => "use t; select a.id from a join a b on a.n = b.id where b.v = 'x' limit 1;\n".into(),
        _ => String::new(),
    }
}

fn postgres_statements(steps: u64, n: u64) -> String {
    let mut text = String::new();
    for i in 0..steps {
        let id = 1 + mixed(n * 79 + i) % 20_000;
        text += &format!("SELECT c FROM t WHERE a = {id};\n");
        if i % 2 == 0 {
            text += &format!("INSERT INTO t(b, c) VALUES ({id}, 'new');\n");
        }
        if i % 3 == 0 {
            text += &format!("UPDATE t SET b = b + 1 WHERE a = {id};\n");
        }
    }
    text += "DELETE FROM t WHERE a IN (SELECT a FROM t WHERE a > 20000 LIMIT 2);\n";
    if n.is_multiple_of(20) {
        text += "SELECT c, b FROM t ORDER BY c, b DESC;\n";
    }
    text
}

/// Two of these wait for each other.
fn postgres_locks(_: u64, n: u64) -> String {
    match n % 10 {
        0 => "BEGIN; UPDATE t SET b = 0 WHERE a = 7; SELECT pg_sleep(0.3); ROLLBACK;\n".into(),
        _ => String::new(),
    }
}

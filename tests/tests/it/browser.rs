//! A headless Chromium, asked over the DevTools protocol through its pipe:
//! JSON, each message ended by a NUL.

use crate::support::{run, wait_for};
use serde_json::{Value as Json, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// One tab.
pub struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: String,
    next: u64,
    /// Addresses asked for since the last look.
    pub asked: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts it with a window of this size.
    pub fn start(width: u32, height: u32) -> Browser {
        let profile = tempfile::tempdir().expect("a folder");
        let (to, from) = (profile.path().join("to"), profile.path().join("from"));
        assert!(run(Command::new("mkfifo").args([&to, &from])).status.success());
        // The shell hands over the pipes as the numbers that Chromium wants.
        let child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<\"$TO\" 4>\"$FROM\"", "sh"])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--remote-debugging-pipe", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().join("data").display()))
            .arg(format!("--window-size={width},{height}"))
            .arg("about:blank")
            .envs([("TO", &to), ("FROM", &from)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium");
        let to = File::options().write(true).open(to).expect("a pipe");
        let from = BufReader::new(File::open(from).expect("a pipe"));
        let (session, asked) = (String::new(), Vec::new());
        let mut browser = Browser { child, to, from, session, next: 0, asked, _profile: profile };
        let targets = browser.call("Target.getTargets", json!({}));
        let pages = targets["targetInfos"].as_array().expect("targets");
        let page = pages.iter().find(|t| t["type"] == "page").expect("a page")["targetId"].clone();
        let attached =
            browser.call("Target.attachToTarget", json!({"targetId": page, "flatten": true}));
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method; answers with its result.
    pub fn call(&mut self, method: &str, params: Json) -> Json {
        self.try_call(method, params).unwrap_or_else(|e| panic!("{method}: {e}"))
    }

    /// As [`Browser::call`]; the error is Chromium's own.
    fn try_call(&mut self, method: &str, params: Json) -> Result<Json, Json> {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("chromium listens");
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).expect("chromium answers");
            assert_eq!(bytes.pop(), Some(0), "chromium has ended");
            let answer: Json = serde_json::from_slice(&bytes).expect("JSON");
            if answer["method"] == "Network.requestWillBeSent" {
                let url = answer["params"]["request"]["url"].as_str().unwrap_or_default();
                self.asked.push(url.to_owned());
            }
            if answer["id"] == self.next {
                return match &answer["error"] {
                    Json::Null => Ok(answer["result"].clone()),
                    e => Err(e.clone()),
                };
            }
        }
    }

    /// Opens a page and waits until it has been loaded.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of an expression; promises are awaited.
    pub fn eval(&mut self, expression: &str) -> Json {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true. A page that changes may not know it
    /// for a moment, or go away while it is asked.
    pub fn wait(&mut self, expression: &str) {
        let safe =
            format!("(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()");
        let params = json!({"expression": safe, "returnByValue": true});
        wait_for(expression, LIMIT, || {
            let answer = self.try_call("Runtime.evaluate", params.clone()).ok()?;
            (answer["result"]["value"] == true).then_some(())
        });
    }

    /// Writes as a keyboard does.
    pub fn write(&mut self, text: &str) {
        for c in text.chars() {
            self.key(&c.to_string(), &c.to_string());
        }
    }

    /// Presses a key: `ArrowDown`, `Enter`, `/`.
    pub fn press(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            k if k.chars().count() == 1 => k,
            _ => "",
        };
        self.key(key, text);
    }

    fn key(&mut self, key: &str, text: &str) {
        let code = if key == "Enter" { 13 } else { 0 };
        let down = json!({"type": "keyDown", "key": key, "text": text,
            "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", down);
        self.call("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key}));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

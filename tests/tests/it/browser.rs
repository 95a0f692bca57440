//! A headless Chromium, driven over WebDriver by Debian's `chromedriver`: it clicks
//! where a hand could, types and moves the mouse.

use crate::support::{Proc, free_port, wait_for};
use rustix::process::{Signal, kill_process_group};
use serde_json::{Value as Json, json};
use std::future::Future;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;
use thirtyfour::action_chain::ActionChain;
use thirtyfour::error::{WebDriverErrorInner, WebDriverResult};
use thirtyfour::{
    By, ChromiumLikeCapabilities, DesiredCapabilities, Key, LoggingPrefsLogLevel,
    TimeoutConfiguration, WebDriver, WebElement,
};
use tokio::runtime::Runtime;

/// How long a page, an element or a condition is waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// How long Chromium may take to end by itself.
const LEAVE: Duration = Duration::from_secs(10);

/// One tab.
pub struct Browser {
    /// Until the end.
    driver: Option<WebDriver>,
    runtime: Runtime,
    /// Leads the process group that Chromium is in, too.
    server: Proc,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts it; a page has `width` times `height` px to be seen in.
    pub fn start(width: u32, height: u32) -> Browser {
        // Only the first of several is taken, and one is enough.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let profile = tempfile::tempdir().expect("a folder");
        let port = free_port();
        // Are the tests killed, or ended by Ctrl-C, it ends, too, and Chromium with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "chromedriver", &format!("--port={port}")]);
        // What it leaves behind goes with the folder.
        command.process_group(0).env("TMPDIR", profile.path());
        // How dates are typed follows the language.
        command.envs([("LC_ALL", "en_US.UTF-8"), ("LANGUAGE", "en_US")]);
        let mut server = Proc::start(&mut command);
        server.line("started successfully", LIMIT);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = reqwest::Client::builder().no_proxy().timeout(3 * LIMIT).build();
        let mut capabilities = DesiredCapabilities::chrome();
        capable(&mut capabilities, &profile.path().join("data").display().to_string())
            .expect("capabilities");
        let builder = WebDriver::builder(format!("http://127.0.0.1:{port}"), capabilities)
            .client(client.expect("a client"));
        // Dropped by a panic from here on, it kills what it has started.
        let mut browser = Browser { driver: None, runtime, server, _profile: profile };
        browser.driver = Some(browser.runtime.block_on(builder.connect()).expect("chromium"));
        browser.run("time limits", |driver| async move {
            let all = TimeoutConfiguration::new(Some(LIMIT), Some(LIMIT), Some(Duration::ZERO));
            driver.update_timeouts(all).await
        });
        browser.resize(width, height);
        browser
    }

    /// Gives pages another size, px. As a window: Chromium's own bars are added.
    fn resize(&mut self, width: u32, height: u32) {
        let bars = self.eval("outerHeight - innerHeight").as_u64().expect("px");
        let outer = height + u32::try_from(bars).expect("few");
        self.run("the window's size", |driver| async move {
            driver.set_window_rect(0, 0, width, outer).await
        });
        self.wait(&format!("innerWidth === {width} && innerHeight === {height}"));
    }

    /// Does something to its end; a fault tells `what`.
    fn run<T, F>(&self, what: &str, ask: impl FnOnce(WebDriver) -> F) -> T
    where
        F: Future<Output = WebDriverResult<T>>,
    {
        self.try_run(ask).unwrap_or_else(|e| panic!("{what}: {e}"))
    }

    fn try_run<T, F>(&self, ask: impl FnOnce(WebDriver) -> F) -> WebDriverResult<T>
    where
        F: Future<Output = WebDriverResult<T>>,
    {
        let driver = self.driver.clone().expect("it has been started");
        self.runtime.block_on(ask(driver))
    }

    /// Calls a method of Chromium's own protocol, for what WebDriver has no word for.
    pub fn call(&mut self, method: &str, params: Json) -> Json {
        self.run(method, |driver| async move { driver.cdp().send_raw(method, params).await })
    }

    /// Opens a page and waits until it has been loaded.
    pub fn open(&mut self, url: &str) {
        self.run(url, |driver| async move { driver.goto(url).await });
    }

    /// The value of an expression; promises are awaited.
    pub fn eval(&mut self, expression: &str) -> Json {
        self.run(expression, |driver| async move {
            let told = driver.execute(format!("return ({expression});"), []).await?;
            Ok(told.json().clone())
        })
    }

    /// Waits until an expression is true. A page that changes may not know it
    /// for a moment, or go away while it is asked.
    pub fn wait(&mut self, expression: &str) {
        wait_for(expression, LIMIT, || self.try_is(expression).ok()?.then_some(()));
    }

    /// Whether it is true, of this page or of the one that comes in its place.
    pub fn is(&mut self, expression: &str) -> bool {
        wait_for(expression, LIMIT, || self.try_is(expression).ok())
    }

    fn try_is(&self, expression: &str) -> WebDriverResult<bool> {
        let safe = format!("try {{ return !!({expression}) }} catch {{ return false }}");
        let told = self.try_run(|driver| async move { driver.execute(safe, []).await })?;
        Ok(*told.json() == true)
    }

    /// Does something to an element, as soon as there is one.
    fn until<T, F>(&self, what: &str, ask: impl Fn(WebDriver) -> F) -> T
    where
        F: Future<Output = WebDriverResult<T>>,
    {
        wait_for(what, LIMIT, || match self.try_run(&ask).map_err(|e| e.into_inner()) {
            Ok(done) => Some(done),
            // Not there yet, or of a page that has just gone.
            Err(
                WebDriverErrorInner::NoSuchElement(_)
                | WebDriverErrorInner::StaleElementReference(_),
            ) => None,
            Err(e) => panic!("{what}: {e}"),
        })
    }

    /// The same to the first element that fits.
    fn with<T, F>(&self, what: &str, by: By, act: impl Fn(WebElement) -> F) -> T
    where
        F: Future<Output = WebDriverResult<T>>,
    {
        let act = &act;
        self.until(&format!("{what} {by:?}"), |driver| {
            let by = by.clone();
            async move { act(driver.find(by).await?).await }
        })
    }

    /// Clicks as a hand does: what is hidden or covered cannot be clicked on.
    pub fn click(&mut self, by: By) {
        self.with("a click on", by, |element| async move { element.click().await });
    }

    /// What can be read of an element.
    pub fn text(&mut self, by: By) -> String {
        self.with("the text of", by, |element| async move { element.text().await })
    }

    /// Clicks on the first link with this text.
    pub fn follow(&mut self, link: &str) {
        self.click(By::LinkText(link));
    }

    /// Writes into a field, instead of what is in it.
    pub fn fill(&mut self, by: By, text: &str) {
        self.with("writing into", by, |element| async move {
            element.clear().await?;
            element.send_keys(text).await
        });
    }

    /// Writes as a keyboard does, to what has the focus.
    pub fn write(&mut self, text: &str) {
        // Not by actions: those look at the page between keys, and fail where it has gone
        // with the first.
        self.until(&format!("writing {text:?}"), |driver| async move {
            driver.active_element().await?.send_keys(text).await
        });
    }

    /// Presses a key: `ArrowDown`, `Enter`, `/`.
    pub fn press(&mut self, key: &str) {
        let named = match key {
            "ArrowDown" => Key::Down,
            "ArrowLeft" => Key::Left,
            "ArrowRight" => Key::Right,
            "Enter" => Key::Enter,
            _ => {
                assert_eq!(key.chars().count(), 1, "{key} has no name here");
                return self.write(key);
            }
        };
        self.write(&named.value().to_string());
    }

    /// Moves the mouse, as fast as Chromium takes it. A button that is held stays so
    /// until it is released.
    pub fn mouse(&mut self, build: impl FnOnce(ActionChain) -> ActionChain) {
        self.run("the mouse", |driver| async move {
            let now = Some(Duration::ZERO);
            build(driver.action_chain_with_delay(now, now)).perform().await
        });
    }

    /// What is seen, as PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        self.run("a picture", |driver| async move { driver.screenshot_as_png().await })
    }

    /// Addresses asked for since the last look, by whatever the tab has shown.
    pub fn asked(&mut self) -> Vec<String> {
        let log = self.run("the log", |driver| async move { driver.get_log("performance").await });
        let url = |entry: &str| {
            let entry: Json = serde_json::from_str(entry).expect("JSON");
            let event = &entry["message"];
            (event["method"] == "Network.requestWillBeSent")
                .then(|| event["params"]["request"]["url"].as_str().expect("an address").to_owned())
        };
        log.iter().filter_map(|entry| url(&entry.message)).collect()
    }
}

/// What Chromium is started with, and what of it is written down.
fn capable(all: &mut impl ChromiumLikeCapabilities, profile: &str) -> WebDriverResult<()> {
    const ARGS: [&str; 9] = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        // Else it would take a port.
        "--remote-debugging-pipe",
    ];
    for arg in ARGS {
        all.add_arg(arg)?;
    }
    all.add_arg(&format!("--user-data-dir={profile}"))?;
    // Debian's begins at a search engine, which would be asked.
    let start = json!({"session.restore_on_startup": 4, "session.startup_urls": ["about:blank"]});
    all.add_experimental_option("prefs", start)?;
    all.set_logging_prefs("performance", LoggingPrefsLogLevel::All)
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            // Politely first: so the driver collects what Chromium has started.
            let quit = driver.clone().quit();
            let _ = self.runtime.block_on(async { tokio::time::timeout(LEAVE, quit).await });
            // Has it not ended, it is not asked once more.
            let _ = driver.leak();
        }
        // It may have ended by itself; the driver is left to `Proc`.
        let _ = kill_process_group(self.server.pid(), Signal::KILL);
    }
}

/// What the other tests lean on: they could not fail otherwise.
#[test]
fn a_click_needs_something_to_see_and_every_request_is_seen() {
    let mut browser = Browser::start(600, 400);
    let elsewhere = format!("http://127.0.0.1:{}/far.png", free_port());
    browser.open(&format!(
        "data:text/html,<title>none</title><img src='{elsewhere}'>\
         <p><button id=hidden style='display:none'>hidden</button>\
         <p><button id=covered>covered</button>\
         <div style='position:fixed;inset:0 0 50%25 0'></div>\
         <p style='margin-top:300px'><button id=plain>plain</button>\
         <script>onclick = (e) => {{ document.title = e.target.id }}</script>"
    ));
    assert!(browser.asked().contains(&elsewhere));
    assert_eq!(browser.asked(), [""; 0], "each is told once");
    for (id, fault) in [("hidden", "not interactable"), ("covered", "intercepted")] {
        let mut click = || browser.click(By::Id(id));
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut click));
        let told = told.expect_err("no hand can click there");
        let told = told.downcast_ref::<String>().expect("words");
        assert!(told.contains(fault), "{told}");
        assert_eq!(browser.eval("document.title"), "none");
    }
    browser.click(By::Id("plain"));
    browser.wait("document.title === 'plain'");
}

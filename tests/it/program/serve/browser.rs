//! The pages in a real browser, driven over its debugging pipe: <https://chromedevtools.github.io/devtools-protocol>.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::{Server, TOKEN, push};
use crate::support::{
    is_installed,
    project::{Place, Project},
    running::PATIENCE,
};

struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    calls: u64,
    session: Option<String>,
    /// What the page did meanwhile.
    events: Vec<Value>,
}

impl Browser {
    /// An empty page of this size.
    fn start(profile: &std::path::Path, (width, height): (u32, u32)) -> Self {
        assert!(is_installed("chromium"), "chromium is not installed");
        // The pipe is file 3 to the browser and file 4 back.
        let script = format!(
            "exec chromium --headless --no-sandbox --disable-gpu --remote-debugging-pipe \
             --user-data-dir={} --window-size={width},{height} about:blank 3<&0 4>&1 0</dev/null 1>/dev/null",
            profile.display()
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (calls, session, events) = (0, None, Vec::new());
        let mut browser = Self { child, input, output, calls, session, events };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        browser.call("Emulation.setDeviceMetricsOverride", &size);
        browser
    }

    fn message(&mut self) -> Value {
        if self.output.buffer().is_empty() {
            let limit = Timespec::try_from(PATIENCE).unwrap();
            let ready =
                poll(&mut [PollFd::new(self.output.get_ref(), PollFlags::IN)], Some(&limit));
            assert_ne!(ready.unwrap(), 0, "the browser says no more");
        }
        let mut bytes = Vec::new();
        self.output.read_until(0, &mut bytes).unwrap();
        bytes.pop();
        assert!(!bytes.is_empty(), "the browser ended");
        serde_json::from_slice(&bytes).unwrap()
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        self.input.write_all(call.to_string().as_bytes()).unwrap();
        self.input.write_all(&[0]).unwrap();
        self.input.flush().unwrap();
        loop {
            let message = self.message();
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{method}: {message:#}");
                return message["result"].clone();
            }
            if message["method"].is_string() {
                self.events.push(message);
            }
        }
    }

    fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({ "url": url }));
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of an expression. `null` while a page is replaced by another.
    fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        self.call("Runtime.evaluate", &parameters)["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    fn wait(&mut self, expression: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.value(expression) != json!(true) {
            let is_late = Instant::now() > deadline;
            assert!(!is_late, "not {expression}: {}", self.value("document.body.innerText"));
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Errors of scripts, refused parts, and requests to another host.
    fn complaints(&self, host: &str) -> Vec<&Value> {
        let is_bad = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Log.entryAdded" => event["params"]["entry"]["level"] == "error",
            "Runtime.consoleAPICalled" => event["params"]["type"] == "error",
            "Network.requestWillBeSent" => {
                let url = event["params"]["request"]["url"].as_str().unwrap_or_default();
                let is_ours = url.starts_with(&format!("http://{host}/"));
                !is_ours && !url.starts_with("data:") && !url.starts_with("about:")
            }
            _ => false,
        };
        self.events.iter().filter(is_bad).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs chromium"]
fn a_run_is_followed_live_and_retried_by_a_click() {
    let project = Project::new();
    project.edit(
        "web/Dockerfile",
        "COPY page /page",
        "COPY page /page\nRUN echo seen live; sleep 4; exit 3",
    );
    let before = project.commit();
    let server = Server::start(&project);
    let host = server.host.clone();
    let mut browser = Browser::start(&project.path("../profile"), (1280, 900));
    browser.open(&format!("http://{host}/"));
    let boxes = "document.querySelectorAll('.picture a').length === 4";
    browser.wait(boxes);
    browser.wait("document.querySelectorAll('.picture .never-built a, .picture a .never-built').length > 0 || document.querySelectorAll('.badge.never-built').length === 4");

    server.deliver(&push(&"0".repeat(40), &before, &[]));
    // The open page says so without being loaded again.
    browser.wait("document.body.innerText.includes('run #1')");
    browser.open(&format!("http://{host}/runs/1"));
    browser.wait("document.getElementById('live-log').textContent.includes('seen live')");
    browser.wait("document.querySelector('.badge.failed') !== null");
    browser.wait("document.body.innerText.includes('exit code: 3') || document.body.innerText.includes('exit code 3')");
    // The page of a run that is over is loaded again, without the live log.
    browser.wait("document.getElementById('live-log') === null");
    browser.wait("document.querySelector('details.log[open]') !== null");
    // Search in the log of the failed image.
    browser.value(
        "(() => { const input = document.querySelector('details[open] [data-search]'); \
         input.value = 'seen live'; input.dispatchEvent(new Event('input', { bubbles: true })); })()",
    );
    browser.wait("document.querySelector('details[open] mark') !== null");

    browser.open(&format!("http://{host}/login"));
    browser.value(&format!("document.getElementById('token').value = '{TOKEN}'; document.querySelector('form.login').submit();"));
    browser.wait("document.body.innerText.includes('log out')");
    project.edit("web/Dockerfile", "sleep 4; exit 3", "true");
    browser.open(&format!("http://{host}/runs/1"));
    browser.value("document.querySelector('.actions button').click()");
    browser.wait("location.pathname === '/runs/2'");
    browser.wait("document.querySelector('.badge.built') !== null");
    assert_eq!(server.ended(2)["state"], "succeeded");
    browser.open(&format!("http://{host}/"));
    browser.wait("document.querySelectorAll('.badge.current').length === 4");
    let complaints = browser.complaints(&host);
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
#[ignore = "needs chromium"]
fn three_hundred_images_fit_a_phone_and_a_page_needs_no_script() {
    let project = Project::of_files();
    let mut file = String::from("version: 1\nimages:\n  ~os: { context: os }\n");
    for n in 0..299 {
        let parent = if n < 10 { "~os".to_owned() } else { format!("~i{}", n / 10) };
        writeln!(file, "  ~i{n}: {{ context: i{n} }}").unwrap();
        project
            .write(&format!("i{n}/Dockerfile"), &format!("FROM {parent}\nCOPY Dockerfile /{n}\n"));
    }
    project.write("hierarchy.yaml", &file);
    let server = Server::start(&project);
    let host = server.host.clone();
    server.wait("/h/project", |page| page["lag"]["never_built"] == 300);
    for width in [400, 1280] {
        let mut browser =
            Browser::start(&project.path(&format!("../profile{width}")), (width, 900));
        browser.open(&format!("http://{host}/"));
        browser.wait("document.querySelectorAll('.picture a').length === 300");
        browser.wait("document.querySelectorAll('#images tbody tr').length === 300");
        let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
        assert_eq!(browser.value(fits), json!(true), "at {width} pixels");
        browser.value(
            "(() => { const input = document.querySelector('[data-filter]'); input.value = 'i29'; \
             input.dispatchEvent(new Event('input', { bubbles: true })); })()",
        );
        browser.wait("[...document.querySelectorAll('#images tbody tr')].filter((row) => !row.hidden).length === 10");
        browser.call("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
        browser.call("Page.reload", &json!({}));
        thread::sleep(Duration::from_millis(500));
        let complaints = browser.complaints(&host);
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
    let page = server.page("/");
    assert_eq!(page.matches("data-label=\"state\"").count(), 300, "without a script, all is there");
    assert!(project.tags(Place::Engine).is_empty());
}

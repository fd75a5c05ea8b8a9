//! Reading needs no login, actions do.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::json;

use super::{Server, TOKEN};
use crate::support::{
    http::{Answer, send},
    project::{Place, Project},
};

fn post(server: &Server<'_>, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let headers: Vec<_> = headers.iter().copied().chain([form]).collect();
    send(&server.host, None, "POST", path, &headers, body.as_bytes())
}

#[test]
fn an_action_needs_the_token_or_a_session_with_the_secret_of_its_form() {
    let project = Project::of_files();
    project.rebuilt(Place::Engine);
    let server = Server::start(&project);
    let run = "/h/project/run";
    assert_eq!(post(&server, run, &[], "").status, 401);
    let wrong = [("Authorization", "Bearer wrong")];
    assert_eq!(post(&server, run, &wrong, "").status, 401);
    let bearer = format!("Bearer {TOKEN}");
    let bearer = [("Authorization", &*bearer)];
    let answer = post(&server, run, &bearer, &project.name("from=~tool"));
    assert_eq!(answer.status, 202);
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap(),
        json!({ "run": 1 })
    );
    assert_eq!(server.ended(1)["state"], "succeeded");
    assert_eq!(post(&server, run, &bearer, "from=nothing").status, 400);

    // As a browser does it.
    assert_eq!(post(&server, "/login", &[], "token=wrong").status, 401);
    let token = TOKEN.replace(' ', "+");
    let foreign = [("Sec-Fetch-Site", "cross-site")];
    assert_eq!(post(&server, "/login", &foreign, &format!("token={token}")).status, 401);
    let answer = post(&server, "/login", &[], &format!("token={token}"));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let session = [("Cookie", &*cookie), ("Accept", "text/html")];
    assert_eq!(post(&server, run, &session, "").status, 403, "the form has a secret");
    let page = send(&server.host, None, "GET", "/h/project", &session, b"");
    let page = String::from_utf8(page.body).unwrap();
    let secret = page.split("name=\"secret\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let answer = post(&server, run, &session, &format!("secret={secret}"));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/runs/2")));
    let foreign = [("Cookie", &*cookie), ("Sec-Fetch-Site", "cross-site")];
    assert_eq!(post(&server, run, &foreign, &format!("secret={secret}")).status, 403);
    assert!(!server.page("/h/project").contains("name=\"secret\""), "a reader gets no form");
    drop(server);

    let server = Server::plain(&project, "");
    assert_eq!(post(&server, run, &bearer, "").status, 403, "without a token, nothing is taken");
    assert!(server.page("/h/project").contains("--token-file"));
}

#[test]
fn a_proxy_on_this_machine_names_the_user() {
    let project = Project::of_files();
    project.rebuilt(Place::Engine);
    let server = Server::plain(&project, "--trusted-header X-Forwarded-User");
    let user = [("X-Forwarded-User", "ann"), ("Accept", "text/html")];
    let page = send(&server.host, None, "GET", "/h/project", &user, b"");
    let page = String::from_utf8(page.body).unwrap();
    let secret = page.split("name=\"secret\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(post(&server, "/h/project/run", &user, "").status, 403);
    assert_eq!(post(&server, "/h/project/run", &user, &format!("secret={secret}")).status, 303);
    assert_eq!(server.ended(1)["why"], json!(["a request of ann"]));
}

#[test]
fn a_run_is_cancelled_and_retried() {
    let project = Project::new();
    project.edit("web/Dockerfile", "COPY page /page", "COPY page /page\nRUN sleep 60");
    let server = Server::start(&project);
    let bearer = format!("Bearer {TOKEN}");
    let bearer = [("Authorization", &*bearer)];
    assert_eq!(post(&server, "/h/project/run", &bearer, "").status, 202);
    server.wait("/runs/1", |run| run["done"].as_u64() >= Some(1));
    assert_eq!(post(&server, "/runs/1/cancel", &[], "").status, 401);
    assert_eq!(post(&server, "/runs/1/cancel", &bearer, "").status, 202);
    let run = server.ended(1);
    assert_eq!((&run["state"], &run["exit_code"]), (&json!("cancelled"), &json!(130)), "{run:#}");
    assert!(project.tags(Place::Engine).is_empty(), "no tag moved");
    assert_eq!(post(&server, "/runs/1/cancel", &bearer, "").status, 409);
    project.edit("web/Dockerfile", "RUN sleep 60", "RUN sleep 0");
    assert_eq!(post(&server, "/runs/1/retry", &bearer, "").status, 202);
    let run = server.ended(2);
    assert_eq!((&run["state"], &run["why"]), (&json!("succeeded"), &json!(["retry of run 1"])));
}

#[test]
fn a_page_of_another_site_cannot_read_the_server() {
    let project = Project::of_files();
    let status = |server: &Server<'_>, host: &str| {
        let mut stream = TcpStream::connect(&server.host).unwrap();
        write!(stream, "GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    let server = Server::plain(&project, "--public-host ci.example.com");
    for (host, expected) in
        [("localhost", 200), ("127.0.0.1", 200), ("ci.example.com", 200), ("evil.example", 421)]
    {
        assert_eq!(status(&server, host), expected, "{host}");
    }
    drop(server);
    // A proxy may pass on any name.
    let server = Server::plain(&project, "--trusted-header X-User");
    assert_eq!(status(&server, "other.example.com"), 200);
}

//! The page of `html`: complete without a network or scripts; in a browser it sorts, pages, filters
//! and zooms, nothing overlaps, nothing scrolls sideways, and the console stays empty.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

use common::*;
use mremap_tests::need;
use mremap_trace::{HeaderText, Outcome, Record};
use serde_json::json;
use tempfile::TempDir;

mod common;

/// Runs before the page's own script, and collects errors.
const COLLECT_ERRORS: &str = "<script>var wrong=[];addEventListener('error',e=>wrong.push(e.message),true);\
    console.error=console.warn=(...all)=>wrong.push(all.join(' '));\
    addEventListener('securitypolicyviolation',e=>wrong.push(e.blockedURI));</script>";

/// Uses the page, and stores what it saw in the title, which `--dump-dom` prints.
const USE_PAGE: &str = "<script>
const head=(table,name)=>[...document.querySelectorAll('#'+table+' th button')].find(b=>b.textContent===name);
const cells=(table,at)=>[...document.querySelectorAll('#'+table+' tbody tr')].map(r=>r.cells[at].textContent);
const key=(k)=>time.dispatchEvent(new KeyboardEvent('keydown',{key:k,cancelable:true}));
const seen={};
const visible=[...document.querySelectorAll('h1,h2,p,nav a,.card,td,th,.pager,figure,.bars,#flame,select')]
  .filter(e=>e.checkVisibility());
const box=(e)=>{const b=e.getBoundingClientRect();const c=e.closest('.scroll')?.getBoundingClientRect()??b;
  return [Math.max(b.left,c.left),b.top,Math.min(b.right,c.right),b.bottom];};
const boxes=visible.map(e=>[e,box(e)]).filter(([,b])=>b[2]-b[0]>1&&b[3]-b[1]>1);
seen.overlaps=[];
boxes.forEach(([a,x],at)=>boxes.slice(at+1).forEach(([b,y])=>{
  const [w,h]=[Math.min(x[2],y[2])-Math.max(x[0],y[0]),Math.min(x[3],y[3])-Math.max(x[1],y[1])];
  if(w>1&&h>1&&!a.contains(b)&&!b.contains(a))seen.overlaps.push(a.textContent.slice(0,20)+' / '+b.textContent.slice(0,20));}));
seen.fits=document.documentElement.scrollWidth<=document.documentElement.clientWidth;
seen.height=document.documentElement.scrollHeight;
seen.rows=cells('call',0).length;
head('call','event').click();seen.last=cells('call',0).slice(0,2);
head('call','event').click();seen.first=cells('call',0).slice(0,2);
seen.sorted=head('call','event').closest('th').getAttribute('aria-sort');
const pager=document.querySelector('.pager[data-for=call]');
pager.querySelectorAll('button')[1].click();seen.second=cells('call',0)[0];
const input=pager.querySelector('input');
input.value='efault';input.dispatchEvent(new Event('input'));
seen.filtered=cells('call',4);seen.shown=pager.querySelector('span').textContent;
input.value='';input.dispatchEvent(new Event('input'));
const whole=time.getAttribute('viewBox');key('+');seen.zoomed=time.getAttribute('viewBox')!==whole;
key('0');seen.back=time.getAttribute('viewBox')===whole;
const frames=()=>[...document.querySelectorAll('#flame button')];
seen.frames=frames().map(f=>f.textContent);
weight.value='1';weight.dispatchEvent(new Event('change'));
frames().at(-1).click();seen.flame=frame.textContent;frames()[0].click();
seen.frame=frame.textContent;
seen.focus=[...document.querySelectorAll('a,button,input,select,[tabindex]')].every(e=>e.tabIndex>=0);
seen.drawn=document.querySelectorAll('figure svg rect').length;
document.querySelector('#call td a').click();
const figure=document.getElementById('e1').getBoundingClientRect();seen.linked=scrollY>0&&figure.height>0;
seen.wrong=wrong;
document.title=JSON.stringify(seen);</script>";

/// Writes the sample and 40 more calls, so that tables have pages and the timeline can be zoomed.
fn busy_file() -> (TempDir, String) {
    let mut records = sample();
    records.extend(
        (0..40).map(|step| call(Outcome::PassedThrough, 10_000 + step * 3_000, 1, NEW as i64)),
    );
    let directory = TempDir::new().unwrap();
    let path = write(&directory, "b.mremap", &trace_bytes(&header(42, 1), &records));
    (directory, path.display().to_string())
}

fn page_of(directory: &TempDir, trace: &str) -> String {
    let page = directory.path().join("page.html");
    let output = analyzer(&["html", "-o", page.to_str().unwrap(), trace]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    fs::read_to_string(&page).unwrap()
}

/// Returns the document after its scripts have run.
fn browse(chromium: &Path, page: &Path, width: u32) -> String {
    let profile = TempDir::new().unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={width},900"))
        .arg("--dump-dom")
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("the browser starts");
    assert!(output.status.success(), "{output:?}");
    stdout(&output)
}

#[test]
fn page_is_complete_without_network_and_scripts() {
    let (directory, file) = sample_file();
    let text = page_of(&directory, &file);
    let markup = text.split("<script>").next().unwrap();
    for expected in [
        "<h1>mover</h1>",
        "id=\"timeline\"",
        "kept</text>",
        "EFAULT",
        "mover+0x2234",
        "needs Linux 6.17 or the shim",
        "id=\"e1\"",
        "52 KiB relocated",
    ] {
        assert!(markup.contains(expected), "{expected}: {markup}");
    }
    let links = text.replace("http://www.w3.org/2000/svg", "");
    assert!(!links.contains("http://") && !links.contains("https://"), "a link to another host");
}

#[test]
fn page_of_native_calls_counts_their_bytes() {
    let directory = TempDir::new().unwrap();
    let records = [call(Outcome::Native, 3_000, 20, NEW as i64)];
    let path = write(&directory, "n.mremap", &trace_bytes(&header(42, 1), &records));
    let text = page_of(&directory, path.to_str().unwrap());
    assert!(text.contains("<strong class=\"\">80 KiB relocated</strong>"), "{text}");
}

#[test]
fn page_names_the_busiest_programs_and_counts_the_others() {
    let directory = TempDir::new().unwrap();
    for pid in 1..=12_u32 {
        // The last two make no call.
        let records = vec![
            call(Outcome::PassedThrough, 3_000, 1, NEW as i64);
            13_usize.saturating_sub(pid as usize * 2)
        ];
        let mut bytes = trace_bytes(&header(pid, 1), &records);
        let exe = format!("/bin/tool-{pid}");
        let text = HeaderText { exe: exe.as_bytes(), ..HeaderText::default() };
        header(pid, u32::from(!records.is_empty())).encode(&text, &mut bytes);
        write(&directory, &format!("{pid}.mremap"), &bytes);
    }
    let text = page_of(&directory, directory.path().to_str().unwrap());
    assert!(text.contains("<h1>tool-1, tool-2 and 4 others</h1>"), "{text}");
    assert!(text.contains("6 process images without calls"), "{text}");
    assert!(!text.contains("tool-12"), "processes without calls are only counted");
}

#[test]
fn page_of_many_calls_stays_small() {
    let directory = TempDir::new().unwrap();
    let records: Vec<Record> = (0..100_000)
        .map(|at| call(Outcome::PassedThrough, 3_000 + at * 1_000, 1, NEW as i64))
        .collect();
    let chunks = records.len().div_ceil(63) as u32;
    let path = write(&directory, "m.mremap", &trace_bytes(&header(1, chunks), &records));
    let text = page_of(&directory, path.to_str().unwrap());
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
    assert!(text.contains("of 100,000 calls"));
}

#[test]
fn page_works_in_a_browser_at_every_width() {
    let Some(chromium) = need::program("chromium-headless-shell", "chromium-headless-shell") else {
        return;
    };
    let (directory, file) = busy_file();
    let text = page_of(&directory, &file);
    let tested = directory.path().join("tested.html");
    let text = text.replace("<head>", &format!("<head>{COLLECT_ERRORS}"));
    fs::write(&tested, text.replace("</body>", &format!("{USE_PAGE}</body>"))).unwrap();
    for width in [390, 1280, 1920] {
        let dom = browse(&chromium, &tested, width);
        let title = dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
        let title = title.unwrap_or_default().replace("&amp;", "&");
        let seen: serde_json::Value =
            serde_json::from_str(&title).unwrap_or_else(|error| panic!("{error}: {dom}"));
        for (what, expected) in [
            ("wrong", json!([])),
            ("overlaps", json!([])),
            ("fits", json!(true)),
            ("rows", json!(20)),
            ("last", json!(["42", "41"])),
            ("first", json!(["1", "2"])),
            ("sorted", json!("ascending")),
            ("second", json!("21")),
            ("filtered", json!(["EFAULT"])),
            ("shown", json!("1 to 1 of 1")),
            ("zoomed", json!(true)),
            ("back", json!(true)),
            ("frames", json!(["all calls", "mover", "mover+0x2234"])),
            ("flame", json!("mover+0x2234: 42 calls, 63.0 us (100.0 %), 212 KiB relocated")),
            ("frame", json!("all calls: 42 calls, 63.0 us (100.0 %), 212 KiB relocated")),
            ("focus", json!(true)),
            ("linked", json!(true)),
        ] {
            assert_eq!(seen[what], expected, "{what} at {width}: {seen}");
        }
        assert!(seen["drawn"].as_u64() > Some(5), "{seen}");
        assert!(seen["height"].as_u64() < Some(8_000), "{seen}");
    }
}

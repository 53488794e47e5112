//! A form of a page, as a browser would send it.

use scraper::ElementRef;

use super::css::Css;
use super::page::Page;
use super::select::{Watch, matches};
use crate::config::nearest;

/// The most fields of a form. A page for people has a tenth of it.
const FIELDS_MAX: usize = 500;

/// A form that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    /// What a browser would send, in the form's order.
    pub(super) fields: Vec<(String, String)>,
    /// Where it is sent, as written; the page's own address without one.
    pub(super) action: String,
    /// What the action is relative to, where the page says.
    pub(super) base: Option<String>,
}

/// Finds a form and fills it: what is hidden in it (as a token against forgery is) is sent as it came.
///
/// # Errors
/// In words, when there is none, when it has no such field, or when it is sent in another way than as a form is.
pub(super) fn filled(html: &str, css: &Css, base: &Css, values: &[(String, String)]) -> Result<Form, String> {
    let page = Page::parse(html).map_err(|error| error.to_string())?;
    let watch = Watch::start();
    let found = matches(page.root(), css, true, &watch).find_map(enclosing_form);
    let Some(form) = found else {
        return Err(format!("login_form: `{}` matches no form of the login page", css.text));
    };
    let attribute = |name: &str| form.value().attr(name).unwrap_or_default().trim();
    if !attribute("method").eq_ignore_ascii_case("post") {
        return Err("login_form: the form would put the password into an address (its method is not POST)".into());
    }
    if !matches!(attribute("enctype").to_ascii_lowercase().as_str(), "" | "application/x-www-form-urlencoded") {
        return Err("login_form: the form is sent in another way than forms of a login are (its enctype)".into());
    }
    let mut fields: Vec<(String, String)> = form.descendent_elements().filter_map(control).take(FIELDS_MAX).collect();
    let all: Vec<String> =
        form.descendent_elements().filter_map(|element| element.value().attr("name")).map(str::to_owned).collect();
    for (name, value) in values {
        if !all.contains(name) {
            let near = nearest(name, all.iter().map(String::as_str));
            let hint = near.map_or_else(|| all.join(", "), |near| format!("perhaps `{near}`"));
            return Err(format!(
                "login_form: the form has no field `{}`; there are: {}",
                name.escape_debug(),
                hint.escape_debug()
            ));
        }
        fields.retain(|(own, _)| own != name);
        fields.push((name.clone(), value.clone()));
    }
    let base = matches(page.root(), base, true, &watch).next().and_then(|base| base.value().attr("href"));
    Ok(Form { fields, action: attribute("action").to_owned(), base: base.map(str::to_owned) })
}

/// Whether a page has such a form with a password in it.
pub(super) fn asks_for_password(page: &Page, css: &Css, watch: &Watch) -> bool {
    let has_password = |form: ElementRef<'_>| {
        form.descendent_elements().any(|element| {
            element.value().name() == "input"
                && element.value().attr("type").is_some_and(|kind| kind.eq_ignore_ascii_case("password"))
        })
    };
    matches(page.root(), css, true, watch).filter_map(enclosing_form).any(has_password)
}

/// A form, or the one that an element stands in: some name a field of it.
fn enclosing_form(found: ElementRef<'_>) -> Option<ElementRef<'_>> {
    let is_form = |element: &ElementRef<'_>| element.value().name() == "form";
    let above = found.ancestors().filter_map(ElementRef::wrap);
    std::iter::once(found).chain(above).find(is_form)
}

/// What a control of a form sends, if it does (HTML, "constructing the entry list").
fn control(element: ElementRef<'_>) -> Option<(String, String)> {
    let attribute = |name: &str| element.value().attr(name);
    let name = attribute("name").filter(|name| !name.is_empty() && attribute("disabled").is_none())?.to_owned();
    let text = || element.text().collect::<String>();
    let value = match element.value().name() {
        "input" => match attribute("type").unwrap_or("text").to_ascii_lowercase().as_str() {
            "submit" | "button" | "reset" | "image" | "file" => return None,
            "checkbox" | "radio" if attribute("checked").is_none() => return None,
            "checkbox" | "radio" => attribute("value").unwrap_or("on").to_owned(),
            _ => attribute("value").unwrap_or_default().to_owned(),
        },
        "textarea" => text(),
        "select" => {
            let options = || element.descendent_elements().filter(|option| option.value().name() == "option");
            let chosen =
                options().find(|option| option.value().attr("selected").is_some()).or_else(|| options().next())?;
            let shown = || chosen.text().collect::<String>().trim().to_owned();
            chosen.value().attr("value").map_or_else(shown, str::to_owned)
        }
        _ => return None,
    };
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::checks::pages::form;
    use super::*;

    const PAGE: &str = r#"<base href="/in/"><form id=search><input name=q></form>
        <form id=login method=POST action=check><input type=hidden name=csrf value="a&amp;b"><input name=user>
        <input type=password name=password><input type=checkbox name=keep checked><input type=checkbox name=no>
        <input name=off disabled value=1><select name=lang><option value=en>E<option value=de selected>D</select>
        <textarea name=note> x</textarea><input type=submit name=go value=Go></form>"#;

    fn fill(page: &str, css: &str, values: &[(&str, &str)]) -> Result<Form, String> {
        let values: Vec<_> = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        filled(page, &Css::new(css).unwrap(), &Css::new("base[href]").unwrap(), &values)
    }

    #[test]
    fn a_form_is_sent_as_a_browser_does() {
        for css in ["form#login", "input[name=password]"] {
            let form = fill(PAGE, css, &[("user", "me"), ("password", "p")]).unwrap();
            let sent: Vec<String> = form.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(sent, ["csrf=a&b", "keep=on", "lang=de", "note= x", "user=me", "password=p"]);
            assert_eq!((form.action.as_str(), form.base.as_deref()), ("check", Some("/in/")));
        }
        // One that is not sent by itself may be named.
        assert!(
            fill(PAGE, "form#login", &[("no", "1"), ("go", "Go")])
                .unwrap()
                .fields
                .contains(&("go".into(), "Go".into()))
        );
    }

    #[test]
    fn words_for_what_is_wrong() {
        insta::assert_snapshot!(fill(PAGE, "form#none", &[]).unwrap_err(), @"login_form: `form#none` matches no form of the login page");
        insta::assert_snapshot!(fill(PAGE, "form#search", &[]).unwrap_err(), @"login_form: the form would put the password into an address (its method is not POST)");
        insta::assert_snapshot!(fill(PAGE, "form#login", &[("usr", "me")]).unwrap_err(), @"login_form: the form has no field `usr`; there are: perhaps `user`");
        insta::assert_snapshot!(fill("<form method=post enctype=multipart/form-data>", "form", &[]).unwrap_err(), @"login_form: the form is sent in another way than forms of a login are (its enctype)");
    }

    proptest! {
        #[test]
        fn any_page_is_read(page in "(<form method=post>|<input name=a>|<select name=b>|<option>|</form>|<textarea name=c>|x|\"|<){0,30}") {
            form(&page);
        }
    }
}

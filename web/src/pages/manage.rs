//! The forms to rename, retire or remove a node, on its page. They are answered by the
//! collector's `/api/v1/node/…`.

use super::visitor::View;
use maud::{Markup, html};

/// Nothing for those who may not write.
pub fn forms(view: &View, node: &str) -> Markup {
    html! {
        @if view.may_write {
            details.plan {
                summary { "Rename, retire or remove this node" }
                form.row method="post" action="/api/v1/node/rename" {
                    input type="hidden" name="node" value=(node);
                    b { "Rename" }
                    label { "to " input name="to" required; }
                    button type="submit" { "Rename" }
                    span.soft { "its history stays one; what still sends or asks by the old name is understood" }
                }
                form.row method="post" action="/api/v1/node/retire" {
                    input type="hidden" name="node" value=(node);
                    b { "Retire" }
                    button type="submit" { "Retire" }
                    span.soft { "off all lists and alerts, its history stays; it returns when it sends again" }
                }
                form.row method="post" action="/api/v1/node/remove" {
                    input type="hidden" name="node" value=(node);
                    b { "Remove" }
                    label { "its name once more " input name="confirm" required autocomplete="off"; }
                    button type="submit" { "Remove with all its history" }
                }
            }
        }
    }
}

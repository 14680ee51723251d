//! What one publishes and others hear.

use std::time::Duration;

use forebay::kv::{Kv, Subscription, SubscriptionEvent};
use tokio::time::timeout;

use super::test_store;
use super::test_store::{LONG, answered, patient, until};
use support::proxy::{LinkState, Proxy};
use support::services;

async fn next(subscription: &mut Subscription) -> SubscriptionEvent {
    timeout(LONG, subscription.next()).await.expect("an event")
}

/// How long a message may take before it is published again.
const SOON: Duration = Duration::from_millis(50);

/// Publishes until the subscriber hears it, and returns what it heard before: it may be connecting just now.
async fn publish_until_received(
    kv: &Kv,
    subscription: &mut Subscription,
    text: &str,
) -> Vec<SubscriptionEvent> {
    let mut before = Vec::new();
    loop {
        answered("the message is taken", async || kv.publish("c", text).await).await;
        if let Ok(event) = timeout(SOON, subscription.next()).await {
            if event == SubscriptionEvent::Message(text.to_owned()) {
                return before;
            }
            before.push(event);
        }
    }
}

fn message(text: &str) -> SubscriptionEvent {
    SubscriptionEvent::Message(text.to_owned())
}

#[tokio::test]
async fn a_message_reaches_every_subscriber_of_its_channel_in_order() {
    for store in test_store::all_stores("a_message_reaches_every_subscriber_of_its_channel_in_order") {
        let (mut first, mut second) = (store.kv.subscribe("c"), store.kv.subscribe("c"));
        for subscription in [&mut first, &mut second] {
            publish_until_received(&store.kv, subscription, "begin").await;
        }
        store.kv.publish("another", "not for them").await.unwrap();
        for number in 0..100 {
            store.kv.publish("c", &number.to_string()).await.unwrap();
        }
        for subscription in [&mut first, &mut second] {
            let mut event = next(subscription).await;
            while event == message("begin") {
                event = next(subscription).await;
            }
            for number in 0..100 {
                assert_eq!(event, message(&number.to_string()));
                event = if number < 99 { next(subscription).await } else { event };
            }
        }
    }
}

#[tokio::test]
async fn two_clients_of_one_server_hear_each_other_also_over_different_nodes_of_a_cluster() {
    let test = "two_clients_of_one_server_hear_each_other";
    let Some(place) = services::redis(test) else { return };
    let server = place.start();
    let cluster = place.start_cluster();
    let clients = [
        (patient(&server.url(), false), patient(&server.url(), false)),
        (patient(&cluster.node(0).url(), true), patient(&cluster.node(2).url(), true)),
    ];
    for (one, two) in &clients {
        for (from, to) in [(one, two), (two, one)] {
            let mut subscription = to.subscribe("c");
            let before = publish_until_received(from, &mut subscription, "hello").await;
            assert_eq!(
                before,
                [SubscriptionEvent::MessagesMissed],
                "connected once: nothing before that was heard"
            );
        }
    }
}

#[tokio::test]
async fn after_a_restart_of_the_server_a_subscriber_is_told_that_it_may_have_missed_something() {
    let Some(place) = services::redis("after_a_restart_a_subscriber_is_told") else { return };
    let server = place.start();
    let kv = patient(&server.url(), false);
    let mut subscription = kv.subscribe("c");
    publish_until_received(&kv, &mut subscription, "before").await;
    server.kill();
    server.restart();
    let missed = publish_until_received(&kv, &mut subscription, "after").await;
    let lapses = missed.iter().filter(|event| **event == SubscriptionEvent::MessagesMissed).count();
    assert_eq!(lapses, 1, "{missed:?}");
}

#[tokio::test]
async fn a_subscriber_behind_a_cut_cable_finds_out_by_itself() {
    let Some(place) = services::redis("a_subscriber_behind_a_cut_cable_finds_out") else { return };
    let server = place.start();
    let proxy = Proxy::start();
    proxy.forward_to(&server.address());
    let kv = patient(&format!("redis://{}", proxy.address()), false);
    let mut subscription = kv.subscribe("c");
    assert_eq!(next(&mut subscription).await, SubscriptionEvent::MessagesMissed);
    // Nothing comes through any more and nobody is told; asked whether it is there, the server stays silent.
    proxy.set(LinkState::NO_RESPONSES);
    let given_up = until("the silent connection is given up", async || {
        server.command(&["PUBSUB", "NUMSUB", "c"]).unwrap().ends_with(":0\r\n")
    });
    tokio::select! {
        event = subscription.next() => panic!("{event:?} over a deaf line"),
        () = given_up => {}
    }
    proxy.heal();
    assert_eq!(next(&mut subscription).await, SubscriptionEvent::MessagesMissed, "connected again");
    publish_until_received(&kv, &mut subscription, "after").await;
}

#[tokio::test]
async fn whoever_takes_messages_too_slowly_is_told_and_hears_the_later_ones() {
    for store in test_store::all_stores("whoever_takes_messages_too_slowly_is_told") {
        let mut subscription = store.kv.subscribe("c");
        publish_until_received(&store.kv, &mut subscription, "begin").await;
        for number in 0..3_000 {
            store.kv.publish("c", &number.to_string()).await.unwrap();
        }
        let mut lapsed = false;
        while !lapsed {
            lapsed = next(&mut subscription).await == SubscriptionEvent::MessagesMissed;
        }
        publish_until_received(&store.kv, &mut subscription, "end").await;
    }
}

// Play the customer. Reads and drives the simulator's controls; everything that was written by somebody becomes text, never markup.

const POLL_MS = 1000;

const PLATFORMS = { whatsapp: "WhatsApp", instagram: "Instagram", facebook: "Messenger" };

const TYPES = {
    text: "Text", image: "Photo", images: "Several photos", video: "Video", audio: "Audio", voice: "Voice message", document: "Document", sticker: "Sticker",
    location: "Location", contacts: "Contact card", button_reply: "Button pressed", list_reply: "List entry chosen", flow_reply: "Form sent",
    button: "Template button pressed", quick_reply: "Quick reply", order: "Order", postback: "Menu button pressed", story_reply: "Reply to a story",
    story_mention: "Mention in a story", share: "Shared post", shared_story: "Shared story", referral: "Message from an ad",
    link: "Link followed", opt_in: "Opt-in", opt_out: "Opt-out", form: "Address sent", feedback: "Feedback", rating: "Answer rated",
    call: "Call", call_end: "Call ended", unsupported: "Something unsupported",
};

// What happens to a message is done at the message itself.
const AT_A_MESSAGE = ["reaction", "edit", "unsend"];

const EMOJI = ["👍", "❤️", "😂"];

const PEOPLE = ["Lena Vogt", "Max Beispiel", "Aylin Kaya", "João Silva", "Chloé Martin", "Kwame Mensah", "Yuki Tanaka", "Noah Cohen"];

/** A status only rises. */
const RANK = ["sent", "delivered", "read", "failed"];

const STATUS = { sent: "✓ sent", delivered: "✓✓ delivered", read: "✓✓ read", failed: "✗ failed" };

/** The phones by account, each with its state and its elements. */
const phones = new Map();

const byId = id => document.getElementById(id);

function element(name, properties = {}, ...children) {
    const created = Object.assign(document.createElement(name), properties);
    created.append(...children.filter(child => child !== null && child !== undefined));
    return created;
}

function show(problem) {
    byId("problem").textContent = problem ?? "";
    byId("problem").hidden = !problem;
}

async function call(path, body) {
    const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
    const response = await fetch(path, options);
    const answer = await response.json();
    if (!response.ok) {
        throw new Error(answer.message ?? `${response.status}`);
    }
    return answer;
}

/** Does what a person asked for, and tells if it did not work. */
async function act(doing) {
    try {
        const answer = await doing();
        show(answer?.delivered === false && (answer.message ?? `The webhook answered ${answer.status ?? "nothing"}; the simulator tries again.`));
    } catch (error) {
        show(`That did not work: ${error.message}`);
    }
    await refresh();
}

const digits = count => Array.from(crypto.getRandomValues(new Uint8Array(count)), byte => byte % 10).join("");

/** Somebody who has not written to this account yet. */
function stranger(platform, index) {
    const first = { whatsapp: "491713920012", instagram: "1029384756102938", facebook: "7301122334455667" }[platform];
    const id = index === 0 ? first : platform === "whatsapp" ? `4917${digits(8)}` : `7${digits(15)}`;
    const round = Math.floor(index / PEOPLE.length);
    return { id, name: PEOPLE[index % PEOPLE.length] + (round ? ` ${round + 1}` : "") };
}

function customersOf(phone) {
    const known = phone.account.customers;
    const added = phone.added.filter(person => !known.some(customer => customer.id === person.id));
    return [...known.map(customer => ({ ...customer, name: customer.name ?? customer.id })), ...added];
}

function newPhone(account) {
    const { platform, id } = account;
    const phone = { account, added: [], customer: null, replyTo: null, drafts: new Map(), shown: "" };
    const name = `${PLATFORMS[platform]} ${id}`;
    phone.customers = element("select");
    phone.customers.addEventListener("change", () => choose(phone, phone.customers.value));
    const add = element("button", { type: "button", textContent: "New customer" });
    add.addEventListener("click", () => {
        const person = stranger(platform, customersOf(phone).length);
        phone.added.push(person);
        choose(phone, person.id);
        phone.text.focus();
    });
    phone.bubbles = element("ol");
    phone.thread = element("div", { className: "thread", tabIndex: 0 }, phone.bubbles);
    phone.thread.setAttribute("aria-label", `Chat with ${name}`);
    phone.thread.setAttribute("role", "log");

    phone.kind = element("select", {},
        ...account.types.filter(type => !AT_A_MESSAGE.includes(type)).map(type => element("option", { value: type, textContent: TYPES[type] ?? type })));
    phone.text = element("textarea", { rows: 2, placeholder: "Write as the customer" });
    phone.text.addEventListener("keydown", event => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            phone.form.requestSubmit();
        }
    });
    phone.replying = element("p", { className: "replying", hidden: true });
    const label = (text, control) => element("label", {}, element("span", { className: "visually-hidden", textContent: text }), control);
    phone.form = element("form", { className: "composer" },
        phone.replying, label("Message", phone.text), label("Type", phone.kind), element("button", { className: "send", textContent: "Send" }));
    phone.form.addEventListener("submit", event => {
        event.preventDefault();
        write(phone);
    });
    phone.root = element("section", { className: `phone ${platform}` },
        element("h2", { textContent: PLATFORMS[platform] }, element("small", { textContent: `Account ${id}` })),
        element("div", { className: "customers" }, label("Customer", phone.customers), add),
        phone.thread, phone.form);
    phone.root.setAttribute("aria-label", name);
    phone.added.push(stranger(platform, 0));
    return phone;
}

function choose(phone, customer) {
    phone.drafts.set(phone.customer, phone.text.value);
    phone.customer = customer;
    phone.replyTo = null;
    phone.text.value = phone.drafts.get(customer) ?? "";
    update(phone).catch(lost);
}

const inbound = (phone, more) => {
    const { platform, id } = phone.account;
    const { name } = customersOf(phone).find(customer => customer.id === phone.customer);
    return act(() => call("/simulate/inbound", { platform, accountId: id, from: phone.customer, name, ...more }));
};

function write(phone) {
    const text = phone.text.value.trim();
    const type = phone.kind.value;
    if (type === "text" && !text) {
        phone.text.focus();
        return;
    }
    const message = { type };
    if (text) {
        message.text = text;
    }
    if (phone.replyTo) {
        message.replyTo = phone.replyTo.id;
    }
    phone.text.value = "";
    phone.kind.value = "text";
    phone.replyTo = null;
    inbound(phone, message);
}

/** A line on what a message holds besides its words. */
function summary(message) {
    const content = Array.isArray(message.content) ? message.content[0] : message.content ?? {};
    const inner = content[content.type] ?? {};
    return content.filename ?? content.name?.formatted_name ?? content.name ?? inner.title ?? content.payload?.title ?? content.title ?? "";
}

function bubble(phone, message, messages) {
    const { account } = phone;
    const mine = message.by === "customer";
    const button = (textContent, doing, label) => {
        const created = element("button", { type: "button", textContent });
        if (label) {
            created.setAttribute("aria-label", label);
        }
        created.addEventListener("click", doing);
        return created;
    };
    const quoted = messages.find(other => other.id === message.replyTo);
    const words = message.unsent ? "Message unsent" : message.text ?? summary(message);
    const typed = message.type !== "text" && !message.unsent;
    const meta = [
        new Date(message.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }),
        message.edits ? "edited" : "",
        message.reaction ?? "",
        message.status ? STATUS[message.status] ?? message.status : "",
        message.waiting ? "waiting for the webhook" : "",
    ];
    const actions = element("span", { className: "actions" });
    const can = type => account.types.includes(type);
    if (mine && !message.unsent) {
        if (can("edit") && message.type === "text") {
            actions.append(button("Edit", () => {
                const text = prompt("Edit the message", message.text ?? "");
                if (text?.trim()) {
                    inbound(phone, { type: "edit", target: message.id, text: text.trim() });
                }
            }));
        }
        if (can("unsend")) {
            actions.append(button("Unsend", () => inbound(phone, { type: "unsend", target: message.id })));
        }
    }
    if (!mine) {
        actions.append(button("Reply", () => {
            phone.replyTo = message;
            phone.text.focus();
            render(phone);
        }));
        for (const emoji of EMOJI) {
            const taken = message.reaction === emoji;
            const reaction = taken ? { type: "reaction", target: message.id } : { type: "reaction", target: message.id, emoji };
            actions.append(button(emoji, () => inbound(phone, reaction), taken ? `Take ${emoji} back` : `React with ${emoji}`));
        }
        const isHigher = status => RANK.indexOf(status) > RANK.indexOf(message.status) && !(status === "failed" && message.status === "read");
        for (const status of account.statuses.filter(isHigher)) {
            const report = { accountId: account.id, id: message.id, status };
            actions.append(button(`Mark ${status}`, () => act(() => call("/simulate/status", report))));
        }
    }
    const created = element("li", { className: `bubble ${message.by}` },
        quoted ? element("span", { className: "quote", textContent: quoted.text ?? TYPES[quoted.type] ?? quoted.type }) : null,
        typed ? element("span", { className: "kind", textContent: TYPES[message.type] ?? message.type }) : null,
        element("span", { textContent: words, dir: "auto" }),
        element("span", { className: "meta", textContent: meta.filter(Boolean).join(" · ") }),
        actions.childNodes.length ? actions : null);
    return created;
}

function render(phone) {
    const customers = customersOf(phone);
    phone.customers.replaceChildren(...customers.map(({ id, name }) =>
        element("option", { value: id, textContent: name === id ? id : `${name} (${id})`, selected: id === phone.customer })));
    const { thread, messages } = phone;
    const atEnd = thread.scrollHeight - thread.scrollTop - thread.clientHeight < 40;
    phone.bubbles.replaceChildren(...messages.map(message => bubble(phone, message, messages)));
    if (!messages.length) {
        phone.bubbles.append(element("li", { className: "note", textContent: "Nothing yet. Write something below." }));
    }
    if (atEnd) {
        thread.scrollTop = thread.scrollHeight;
    }
    phone.replying.hidden = !phone.replyTo;
    if (phone.replyTo) {
        const stop = element("button", { type: "button", textContent: "Cancel" });
        stop.addEventListener("click", () => {
            phone.replyTo = null;
            render(phone);
        });
        phone.replying.replaceChildren(`Replying to: ${phone.replyTo.text ?? TYPES[phone.replyTo.type] ?? phone.replyTo.type}`, stop);
    }
}

async function update(phone) {
    const customers = customersOf(phone);
    phone.customer ??= customers[0].id;
    const { platform, id } = phone.account;
    const query = new URLSearchParams({ platform, accountId: id, customer: phone.customer });
    const { messages } = await call(`/simulate/thread?${query}`);
    // Drawn only when it differs, so that focus and selection stay.
    const shown = JSON.stringify([customers, phone.customer, phone.replyTo?.id, messages]);
    if (shown !== phone.shown) {
        phone.shown = shown;
        phone.messages = messages;
        render(phone);
    }
}

let faultsShown = "";

function renderFaults({ faults }, accounts) {
    const shown = JSON.stringify([faults, accounts.map(({ platform, id }) => [platform, id])]);
    if (shown === faultsShown) {
        return;
    }
    faultsShown = shown;
    const form = byId("fault-form");
    const names = new Map([...form.elements.fault.options].map(option => [option.value, option.textContent]));
    const places = new Map([...form.elements.path.options].map(option => [option.value, option.textContent]));
    byId("faults").replaceChildren(...faults.map(({ fault, calls, accountId, path }) => element("li", {
        textContent: `${names.get(fault) ?? fault} · ${places.get(path ?? "")} · ${accountId ? `account ${accountId}` : "any account"} · ${calls} left`,
    })));
    byId("no-faults").hidden = !faults.length;
    byId("fault-count").hidden = !faults.length;
    byId("fault-count").textContent = `(${faults.length} on)`;
    const chosen = form.elements.account.value;
    const ids = [...new Set(accounts.map(account => account.id))];
    form.elements.account.replaceChildren(
        element("option", { value: "", textContent: "Any" }),
        ...ids.map(id => element("option", { value: id, textContent: id, selected: id === chosen })));
}

function lost() {
    show("The simulator does not answer. Is the local system still running?");
}

async function refresh() {
    try {
        const [{ accounts }, faults, settings] = await Promise.all([call("/simulate/accounts"), call("/simulate/fault"), call("/simulate/settings")]);
        for (const account of accounts) {
            const key = `${account.platform} ${account.id}`;
            const phone = phones.get(key) ?? newPhone(account);
            phone.account = account;
            if (!phones.has(key)) {
                phones.set(key, phone);
                byId("phones").append(phone.root);
            }
        }
        byId("nobody").hidden = accounts.length > 0;
        renderFaults(faults, accounts);
        for (const [id, value] of [["statuses", settings.statuses], ["health", settings.health]]) {
            if (document.activeElement !== byId(id)) {
                byId(id).value = value;
            }
        }
        await Promise.all([...phones.values()].map(update));
        if (byId("problem").textContent.startsWith("The simulator")) {
            show();
        }
    } catch {
        lost();
    }
}

byId("fault-form").addEventListener("submit", event => {
    event.preventDefault();
    const { fault, path, account, calls } = event.target.elements;
    const request = { fault: fault.value, calls: Number(calls.value) };
    if (path.value) {
        request.path = path.value;
    }
    if (account.value) {
        request.accountId = account.value;
    }
    act(() => call("/simulate/fault", request));
});
byId("no-faults").addEventListener("click", () => act(() => call("/simulate/fault", { fault: "none" })));
for (const id of ["statuses", "health"]) {
    byId(id).addEventListener("change", ({ target }) => act(() => call("/simulate/settings", { [id]: target.value })));
}

async function poll() {
    if (!document.hidden) {
        await refresh();
    }
    setTimeout(poll, POLL_MS);
}

document.addEventListener("visibilitychange", () => document.hidden || refresh());
poll();

"use strict";
// Shows the button where the browser knows passkeys; the form takes what one has signed.
{
  const form = document.getElementById("passkey");
  const said = document.getElementById("passkey-said");
  async function sign() {
    const asked = await fetch(form.dataset.begin, {
      method: "POST",
      headers: {"Content-Type": "application/json"},
      body: JSON.stringify(form.dataset.challenge ? {challenge: form.dataset.challenge} : {}),
      credentials: "omit",
    });
    const answer = await asked.json();
    if (!asked.ok) throw new Error(answer.detail || answer.title);
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(answer.public_key);
    return (await navigator.credentials.get({publicKey})).toJSON();
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    said.hidden = true;
    try {
      form.elements.passkey.value = JSON.stringify(await sign());
      form.submit();
    } catch (error) {
      said.textContent = error.message;
      said.hidden = false;
    }
  });
  form.hidden = !window.PublicKeyCredential?.parseRequestOptionsFromJSON;
}

// A file of its own, since the page allows no script within it. Addresses are relative to the page.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#description",
  deepLinking: true,
  validatorUrl: null, // else it would send the description to a service elsewhere
  presets: [SwaggerUIBundle.presets.apis],
});

/* SPDX-License-Identifier: MIT */
/* stdin and stdout over TLS: java TlsBridge PORT CA-FILE VERSION SUITE
 * Ends with 0 only after the server's close_notify. */
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.List;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

public class TlsBridge {
	private static SSLContext context(String caFile) throws Exception {
		KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
		TrustManagerFactory trust =
			TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
		SSLContext context = SSLContext.getInstance("TLS");

		store.load(null, null);
		try (InputStream in = new FileInputStream(caFile)) {
			store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509")
					.generateCertificate(in));
		}
		trust.init(store);
		context.init(null, trust.getTrustManagers(), null);
		return context;
	}

	private static void copy(InputStream in, OutputStream out) throws IOException {
		byte[] buffer = new byte[16384];

		for (int n; (n = in.read(buffer)) >= 0; out.flush())
			out.write(buffer, 0, n);
	}

	public static void main(String[] args) throws Exception {
		Socket plain = new Socket("127.0.0.1", Integer.parseInt(args[0]));
		SSLSocket socket = (SSLSocket) context(args[1]).getSocketFactory()
			.createSocket(plain, "localhost", plain.getPort(), true);
		SSLParameters p = socket.getSSLParameters();

		plain.setTcpNoDelay(true);
		p.setServerNames(List.of(new SNIHostName("localhost")));
		p.setEndpointIdentificationAlgorithm("HTTPS");
		p.setProtocols(new String[] { args[2] });
		p.setCipherSuites(new String[] { args[3] });
		socket.setSSLParameters(p);
		socket.startHandshake();
		System.err.println(socket.getSession().getProtocol() + " " +
				socket.getSession().getCipherSuite());
		Thread sender = new Thread(() -> {
			try {
				copy(System.in, socket.getOutputStream());
			} catch (IOException e) {
				/* the reader tells */
			}
		});
		sender.setDaemon(true);
		sender.start();
		copy(socket.getInputStream(), System.out);
		System.exit(0);
	}
}
